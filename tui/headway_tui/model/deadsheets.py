"""What the sheets about dead letters and reviews say, and what they ask for. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from headway.texts import plural
from headway.wire.runs import Review
from headway_tui.model.dead import flaw_of_json, query_of, resume_words
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.wire.runs import RunRow
    from headway.wire.steering import DeadClass
    from headway_tui.model.dead import Piece

COUNT_FROM = 11
"""With so many runs their number has to be typed."""


class Field(NamedTuple):
    """Something to type."""

    label: str
    value: str
    flaw: Callable[[str], str]
    """Why a text will not do; empty if it will."""


class Sheet(NamedTuple):
    """Title, safe lines with their roles, what is to be typed, and the same from a shell."""

    title: str
    lines: Sequence[Piece]
    fields: Sequence[Field] = ()
    cli: str = ""


def count_field(count: int) -> list[Field]:
    """The number of runs, where they are many."""
    if count < COUNT_FROM:
        return []

    def flaw(text: str) -> str:
        return "" if text.strip().replace(",", "") == str(count) else f"type {count}, or esc"

    return [Field(f"type {count} to do it", "", flaw)]


def shell(words: Sequence[str]) -> str:
    """Words as a shell takes them."""
    return " ".join(shlex.quote(word) for word in words)


# --- a class


def again_sheet(c: DeadClass, mode: str, where: str) -> Sheet:
    """New runs of the class: `fork` from the last checkpoint, `replay` from the start."""
    fork = mode == "fork"
    what = (
        "New runs, each from the last checkpoint of its original, nothing edited; done once marks"
        " are kept."
        if fork
        else "New runs from the start with the same payloads; done once marks are kept."
    )
    pace = "A job of the engine, 5 a second"
    pace += ": the first 3, then it waits for your approval." if c.count >= COUNT_FROM else "."
    cli = f"headway ls {shlex.quote(query_of(c))} --ids | headway replay plan - --from "
    cli += "last" if fork else "start"
    return _class_sheet("resume" if fork else "replay", c, [what, pace], where, cli)


def ack_sheet(c: DeadClass, where: str) -> Sheet:
    """Somebody has seen all of the class."""
    what = (
        "Seen: they are no dead letters any more. Recorded with your name; the runs stay as they"
        " are."
    )
    cli = shell(["headway", "ack", "--query", query_of(c, dead=False)])
    return _class_sheet("acknowledge", c, [what], where, cli)


def _class_sheet(title: str, c: DeadClass, what: list[str], where: str, cli: str) -> Sheet:
    task = c.task if c.tasks == 1 else f"{c.tasks} tasks"
    lines: list[Piece] = [(line, "text") for line in what]
    lines += [
        ("", "text"), (f"{plural(c.count, 'run')} on {safe(where, 80)}:", "text"),
        (f"  {safe(c.failure, 120)}   {safe(task, 64)}", "bad"),
        (f"  {safe(c.message, 200)}", "muted"),
    ]  # fmt: skip
    return Sheet(title, lines, count_field(c.count), cli)


# --- a review

_WHAT = {
    "done": "The effect has happened: the block is not run again, and gives this value.",
    "rerun": "The effect has not happened, or may happen twice: the block runs again.",
    "fail": "Nobody can tell: the run ends as failed. You have seen it: no dead letter.",
}
_TITLES = {"done": "mark done", "rerun": "run again", "fail": "fail"}


def decision_sheet(row: RunRow, decision: str, *, armed: bool) -> Sheet:
    """What became of the interrupted blocks: `done`, `rerun` or `fail`.

    `armed`: older attempts are taken for dead.
    """
    review = row.review or Review()
    lines: list[Piece] = [(_WHAT[decision], "text"), ("", "text"), _run(row)]
    lines += [
        (f"  {safe(m.key, 60)}  token {safe(m.token, 40)}  attempt #{m.epoch}", "mark")
        for m in review.marks
    ]
    if decision != "fail":
        lines += _liveness(review, armed=armed)
    keys = [m.key for m in review.marks]
    fields: list[Field] = []
    values: dict[str, str] = {}
    if decision == "done":
        values = dict.fromkeys(keys, "JSON")
        fields = [Field(f"what {safe(k, 60)} gives, as JSON", "null", flaw_of_json) for k in keys]
    cli = shell(resume_words(row.run, dict.fromkeys(keys, decision), values, override=armed))
    return Sheet(_TITLES[decision], lines, fields, cli)


def override_sheet(row: RunRow) -> Sheet:
    """Older attempts are taken for dead, by whoever types it."""
    review = row.review or Review()
    goes_on = not review.marks
    what = (
        "The run goes on now."
        if goes_on
        else "The next decision on this run (m, r) is taken although it may still run."
    )
    lines: list[Piece] = [
        (f"Attempt {_who(review)} was lost and nobody has seen its process end: it may still run"
         " the effect.", "warning"),
        (f"{what} If it does run, the effect happens twice. Recorded with your name.", "text"),
        ("", "text"), _run(row),
    ]  # fmt: skip
    cli = shell(resume_words(row.run, {}, {}, override=True)) if goes_on else ""

    def flaw(text: str) -> str:
        return "" if text.strip().lower() == "override" else "type override, or esc"

    return Sheet("override", lines, [Field("type override to do it", "", flaw)], cli)


def resume_sheet(row: RunRow) -> Sheet:
    """The next attempt, where nothing is to be decided on."""
    review = row.review or Review()
    lines: list[Piece] = [
        ("Same run, next attempt, now.", "text"), ("", "text"), _run(row),
        (f"  {safe(review.why, 300)}", "muted"),
    ]  # fmt: skip
    lines += _liveness(review, armed=False) if review.unconfirmed else []
    return Sheet("resume", lines, (), shell(["headway", "resume", row.run]))


def _run(row: RunRow) -> Piece:
    return f"{safe(row.run, 26)}  {safe(row.task, 64)}", "accent"


def _who(review: Review) -> str:
    return ", ".join(f"#{e}" for e in review.unconfirmed)


def _liveness(review: Review, *, armed: bool) -> list[Piece]:
    if not review.unconfirmed:
        return [("", "text"), ("All older attempts are confirmed dead.", "good")]
    if armed:
        said = f"Attempt {_who(review)} may still run: overridden by you, recorded."
    else:
        said = (
            f"Attempt {_who(review)} is not confirmed dead and may still run the effect: this is"
            " refused until it is, or until you override (o)."
        )
    return [("", "text"), (said, "warning")]
