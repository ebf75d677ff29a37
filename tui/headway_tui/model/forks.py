"""A fork before it is made: what was edited, what is kept, and the same from a shell. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headway.forks import difference
from headway.safe import safe_text
from headway_tui.model.sheets import Sheet, shell
from headway_tui.model.states import diff
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway.wire.replays import Forked
    from headway_tui.model.dead import Piece

ROWS = 14
"""Rows of the difference that a sheet shows."""
_ROLES = {"+": "good", "-": "bad", "~": "warning", " ": "muted"}


class Draft(NamedTuple):
    """What a fork starts from."""

    run: str
    new_run: str
    """Made once: sent twice, it is one run."""
    what: str
    """`state` of a checkpoint, or the `payload` of a run without one."""
    start: str
    """As ForkAsk.start."""
    name: str
    """Of the checkpoint."""
    old: Any


def pretty(value: Any) -> str:
    """A body for an editor: nothing in it moves its cursor."""
    return safe_text(json.dumps(value, indent=2, ensure_ascii=True)) + "\n"


def parsed(text: str) -> tuple[Any, str]:
    """(value, why it is none): with the line and column of what is no JSON."""
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as e:
        return None, f"line {e.lineno}, column {e.colno}: no JSON: {e.msg}"
    except (ValueError, RecursionError) as e:
        return None, f"no JSON: {e}"


def set_words(what: str, old: Any, new: Any) -> list[str] | None:
    """`--set` for each member that differs; None if only the whole value can say it."""
    try:
        patch = difference(old, new)
    except ValueError:
        return None
    words: list[str] = []
    for path, value in _leaves(what, patch):
        if any("." in name or "=" in name or not name for name in path):
            return None
        words += ["--set", f"{'.'.join(path)}={msgspec.json.encode(value).decode()}"]
    return words


def _leaves(what: str, patch: Any) -> list[tuple[list[str], Any]]:
    if not isinstance(patch, dict) or not patch:
        return [([what], patch)]
    return [([what, *path], value)
            for name, inner in patch.items()  # pyright: ignore[reportUnknownVariableType] JSON
            for path, value in _leaves(str(name), inner)]  # pyright: ignore[reportUnknownArgumentType]  # fmt: skip


def fork_sheet(draft: Draft, new: Any, planned: Forked, where: str) -> Sheet:
    """What would be made of it; nothing is made yet."""
    edited = draft.old != new
    point = f"checkpoint {draft.start} {safe(draft.name, 60)}".rstrip()
    point = "the start" if draft.start == "start" else point
    lines: list[Piece] = [
        (f"A new run from {point} of {draft.run}, on {safe(where, 80)}.", "text"), ("", "text")
    ]  # fmt: skip
    if edited:
        rows = [r for r in diff(draft.old, new) if r.sign != " "]
        lines += [
            (safe(f"{r.sign} {draft.what}{'  ' * r.depth} {r.key}  {r.value}", 160), _ROLES[r.sign])
            for r in rows[:ROWS]
        ]
        if len(rows) > ROWS:
            lines.append((f"… and {len(rows) - ROWS} more", "muted"))
        lines.append(_checked(draft.what, planned.checked))
    else:
        lines.append((f"Nothing edited; e edits the {draft.what}.", "muted"))
    kept = ", ".join(safe(k, 60) for k in planned.kept)
    again = ", ".join(safe(k, 60) for k in planned.cleared)
    lines.append((f"once, stays done: {kept}" if kept else "No once mark is done.", "mark"))
    lines += [(f"once, may happen again: {again}", "warning")] if again else []
    words = ["headway", "fork", draft.run, "--from", draft.start]
    settings = set_words(draft.what, draft.old, new) if edited else []
    if settings is None:
        words.append("--edit" if draft.what == "state" else "--edit-payload")
    else:
        words += settings
    return Sheet("fork", lines, (), shell(words))


def _checked(what: str, checked: str) -> Piece:
    if checked == "ok":
        return "It fits the task's state type.", "good"
    if checked == "unlike":
        return "Not checked: it was saved as another type than the task has now.", "warning"
    if what == "payload":
        return "It fits the task's parameters.", "good"
    return "Not checked: the task declares no state type, @task(state=...).", "muted"
