"""Where a fork starts and how bodies are edited: pure, the same in engine, plans and command line.

Edits are JSON merge patches (RFC 7396) wherever they can say what is meant: small, and readable in
a review. A merge patch cannot set null; `edit_of` then gives the whole new value.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from headway.errors import Refused
from headway.wire.replays import BodyEdit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from headway.wire.events import Event
    from headway.wire.runs import CheckpointRow

STARTS = "start, last, #7, name:turn-* or before-error"
"""What `choose` understands, for messages."""


class Failure(NamedTuple):
    """An attempt failed."""

    at: datetime
    type: str


def check_start(start: str) -> None:
    """Raise Refused (`bad_request`) unless `choose` can read it."""
    kind, _, rest = start.partition(":")
    number = start[1:]
    if start in ("start", "last", "before-error") or (kind == "name" and rest):
        return
    if start.startswith("#") and number.isascii() and number.isdigit() and 0 < int(number) < 2**31:
        return
    raise Refused(f"start {start!r}: expected {STARTS}", "bad_request")


def choose(
    start: str, kept: Sequence[CheckpointRow], failures: Sequence[Failure] = ()
) -> CheckpointRow | None:
    """The checkpoint that `start` names among those that are kept; None: there is none.

    `start` itself gives None too. `before-error`: the last one before the error that the run failed
    with struck for the first time in a row; without any failure the last one. Raises Refused for a
    word that means nothing.
    """
    check_start(start)
    rows = sorted(kept, key=lambda c: c.number)
    if start == "start" or not rows:
        return None
    if start.startswith("#"):
        return next((c for c in rows if c.number == int(start[1:])), None)
    if start.startswith("name:"):
        rows = [c for c in rows if fnmatchcase(c.name, start[5:])]
    elif start == "before-error" and failures:
        first = failures[-1]
        for failure in reversed(failures):
            if failure.type != first.type:
                break
            first = failure
        rows = [c for c in rows if c.at <= first.at]
    return rows[-1] if rows else None


def no_checkpoint(start: str, run: str, kept: Sequence[CheckpointRow]) -> str:
    """Why a fork from `start` is refused, with what there is."""
    if not kept:
        return f"run {run} has no checkpoint: start=start begins at the first line"
    there = ", ".join(f"#{c.number} {c.name}" for c in sorted(kept, key=lambda c: c.number)[-5:])
    return f"run {run} keeps no checkpoint {start}; the last ones are: {there}"


def failures_of(events: Iterable[Event]) -> list[Failure]:
    """The failed attempts among a run's events, in order."""
    found: list[Failure] = []
    for e in events:
        error = e.data.get("error")
        if e.kind in ("retrying", "failed", "timed_out", "review") and isinstance(error, dict):
            found.append(Failure(e.at, str(error.get("type", ""))))  # pyright: ignore[reportUnknownArgumentType]  # open data
    return found


def cleared(keys: Iterable[str], globs: Sequence[str]) -> list[str]:
    """Those of these once keys that the globs clear, sorted."""
    return sorted(key for key in keys if any(fnmatchcase(key, glob) for glob in globs))


def kept_marks(
    marks: Iterable[tuple[str, str, int]], number: int, globs: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """(all that a fork keeps, once keys that stay done, once keys that are cleared).

    Of done marks (key, kind, number of the last checkpoint before it): steps, waits and children
    recorded before checkpoint `number` was saved stay, later ones happen again; done once marks
    stay on whichever side they are (DECISIONS G2).
    """
    known = list(marks)
    once = [key for key, kind, _ in known if kind == "once"]
    gone = cleared(once, globs)
    kept = sorted(set(once) - set(gone))
    steps = [key for key, kind, after in known if kind != "once" and after < number]
    return sorted([*kept, *steps]), kept, gone


def merge(target: Any, patch: Any) -> Any:
    """The target with a JSON merge patch applied (RFC 7396); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    new: dict[str, Any] = dict(target) if isinstance(target, dict) else {}  # pyright: ignore[reportUnknownArgumentType]  # JSON
    for key, value in patch.items():  # pyright: ignore[reportUnknownVariableType]  # JSON
        if value is None:
            new.pop(key, None)  # pyright: ignore[reportUnknownArgumentType]
        else:
            new[key] = merge(new.get(key), value)  # pyright: ignore[reportUnknownArgumentType]
    return new


def difference(old: Any, new: Any) -> Any:
    """The merge patch that leads from one JSON value to the other; `{}` if they are equal.

    Raises ValueError where only the whole value can say it (something becomes null).
    """
    if not isinstance(new, dict):
        raise ValueError("only objects can be patched")
    if not isinstance(old, dict):
        raise ValueError("only objects can be patched")
    patch: dict[str, Any] = {key: None for key in old if key not in new}  # pyright: ignore[reportUnknownVariableType]
    for key, value in new.items():  # pyright: ignore[reportUnknownVariableType]
        if key in old and _same(old[key], value):
            continue
        if isinstance(value, dict) and isinstance(old.get(key), dict):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            patch[key] = difference(old[key], value)
        elif _has_null(value):
            raise ValueError(f"{key}: a merge patch cannot set null")
        else:
            # Into what is no object the patch is merged as into an empty one.
            patch[key] = value
    return patch  # pyright: ignore[reportUnknownVariableType]


def edit_of(old: Any, new: Any) -> BodyEdit | None:
    """What leads from one body to the other; None if they are equal."""
    if _same(old, new):
        return None
    try:
        return BodyEdit(patch=Raw(msgspec.json.encode(difference(old, new))))
    except ValueError:
        return BodyEdit(value=Raw(msgspec.json.encode(new)))


def check_edit(edit: BodyEdit, what: str) -> None:
    """Raise Refused unless exactly one way of editing is given."""
    given = (bool(bytes(edit.patch)), bool(bytes(edit.value)), edit.ref is not None)
    if sum(given) != 1:
        raise Refused(f"{what}: give one of patch, value and ref", "bad_request")


def apply(edit: BodyEdit, body: bytes, what: str) -> bytes:
    """The body after an edit that is no reference; raises Refused if either does not decode."""
    if value := bytes(edit.value):
        return value
    try:
        return msgspec.json.encode(
            merge(msgspec.json.decode(body or b"{}"), msgspec.json.decode(bytes(edit.patch)))
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(f"{what}: {e}"[:500], "bad_request") from None


def _same(a: Any, b: Any) -> bool:
    # In Python 1 == 1.0 == True; in JSON only the first two are the same number.
    return msgspec.json.encode(a, order="sorted") == msgspec.json.encode(b, order="sorted")


def _has_null(value: Any) -> bool:
    """True if a merge patch with this member would lose a null in it. Arrays are taken whole."""
    if isinstance(value, dict):
        return any(v is None or _has_null(v) for v in value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value is None
