"""What the filter line means: flaws, hints, the window of time, other queries made of one. Pure.

The language itself is `headway.query`, the same for console, command line and engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.query import BadQuery, Query, Term, completions, parse, write
from headway.query.evaluate import glob, moment
from headway.query.fields import BY_NAME, FIELDS, states_of
from headway.query.machine import compiled
from headway.query.tree import Ago, Pattern, Regex, Status
from headway_tui.model.rows import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from headway.wire.events import RunEvents

COUNTED = ("status", "task", "queue", "tag", "error", "agent", "image")
"""Fields whose values the engine counts: those are completed."""
HINTS = 12


class Flaw(NamedTuple):
    """What is wrong with a text: where (from 0, up to but without `end`), and what was expected."""

    start: int
    end: int
    words: str


class Hint(NamedTuple):
    """How a text may go on: the whole text then, what is new in it, and how many runs have it."""

    text: str
    label: str
    runs: int | None = None


def flaw_of(text: str) -> Flaw | None:
    """What is wrong with a query; None if it can be read."""
    try:
        parse(text)
    except BadQuery as e:
        start = min(max(0, e.column - 1), len(text))
        end = start
        while end < len(text) and not text[end].isspace():
            end += 1
        near = f"; did you mean {e.suggestion}?" if e.suggestion else ""
        return Flaw(start, max(end, start + 1), f"{e.what}{near}; expected {e.expected}")
    return None


def hints(text: str, counted: Callable[[str, str], Iterable[tuple[str, int]]]) -> list[Hint]:
    """How the last word may go on: keys, then live values with the runs that have them.

    `counted(field, before)`: values of a field among the runs that the words before mean, most
    frequent first; empty while they are not known.
    """
    if text.count('"') % 2:
        return []
    head, space, last = text.rpartition(" ")
    lead = f"{head}{space}"
    bang = "!" if last.startswith("!") else ""
    name, colon, rest = last.removeprefix("!").partition(":")
    field = BY_NAME.get(name.lower())
    if not colon or field is None:
        names = [f.name for f in FIELDS if f.name.startswith(name.lower()) and f.name]
        return [Hint(f"{lead}{bang}{n}:", f"{bang}{n}:") for n in names]
    before, comma, begun = rest.rpartition(",")
    stem = f"{lead}{bang}{field.name}:{before}{comma}"
    live = [(v, n) for v, n in counted(field.name, head)] if field.name in COUNTED else []
    wanted = begun.strip('"').lower()
    made = [
        Hint(stem + worded(field.name, v), v, n) for v, n in live if v.lower().startswith(wanted)
    ]
    have = {h.text for h in made}
    made += [Hint(t, t[len(stem) :]) for t in completions(text) if t not in have]
    return [h for h in made if h.text != text][:HINTS]


def complete(text: str) -> bool:
    """True if a text that is being typed may mean what it says: its end is no begun key."""
    last = text.rpartition(" ")[2].removeprefix("!").lower()
    begun = bool(last) and any(f.name.startswith(last) for f in FIELDS)
    return not begun and flaw_of(text) is None


def worded(field: str, value: str) -> str:
    """A value as it is written in a query."""
    if field == "error":
        value = f"{value}: "
    return write(Query((Term("tag", (Pattern((value,)),)),))).removeprefix("tag:")


def with_term(text: str, field: str, value: str) -> str:
    """The query with this value of a field in place of others; of a bad text nothing stays."""
    term = f"{field}:{worded(field, value)}"
    rest = kept(text, {field})
    return f"{rest} {term}".strip()


def same_error(text: str, kind: str) -> str:
    """Runs with the same error, of those that the query means whatever their state."""
    rest = kept(text, {"error", "status", "id", ""})
    return f"{rest} error:{worded('error', kind)}".strip()


def kept(text: str, without: set[str]) -> str:
    """The query without the terms of some fields; empty for a bad text."""
    try:
        query = parse(text)
    except BadQuery:
        return ""
    return write(Query(tuple(t for t in query.terms if t.field not in without)))


def looser(text: str) -> list[tuple[str, str]]:
    """Each term with what is left without it: (term, rest)."""
    query = parse(text)
    one = [write(Query((t,))) for t in query.terms]
    rest = [write(Query(query.terms[:i] + query.terms[i + 1 :])) for i in range(len(query.terms))]
    return list(zip(one, rest, strict=True))


def window(text: str, now: datetime) -> str:
    """The time that the query covers, in words; there is no hidden one. Times are local."""
    try:
        terms = [t for t in parse(text).terms if t.field in {"since", "until"}]
    except BadQuery:
        return ""
    if not terms:
        return "all time"
    said: list[str] = []
    for term in terms:
        value = term.values[0]
        at = moment(value, now).astimezone()
        day = "" if at.date() == now.astimezone().date() else f"{at:%Y-%m-%d} "
        sign = {("since", False): "from", ("since", True): "before", ("until", False): "until",
                ("until", True): "not until"}[term.field, term.negated]  # fmt: skip
        said.append(
            f"{sign} {day}{at:%H:%M:%S}" if isinstance(value, Ago) else f"{sign} {day}{at:%H:%M}"
        )
    return ", ".join(said)


def possible(query: Query, body: RunEvents) -> bool:
    """False if no event says that the run is, or came to be, one that the query means.

    Only what events tell of every run is looked at: its state, task, queue, and the tags that
    somebody has just changed. The engine decides.
    """
    targets = {e.target.lower() for e in body.events if e.target}
    changes = [tags for e in body.events if (tags := tags_of(e)) is not None]
    by_tag = bool(changes) and any(term.field in {"tag", ""} for term in query.terms)
    if not targets and not by_tag:
        return False
    for term in query.terms:
        if term.field == "status" and targets:
            words = frozenset(v.word for v in term.values if isinstance(v, Status))
            if term.negated and "dead" in words:
                continue  # an ended run that somebody has acknowledged is none
            meant = {s.status for s in states_of(words)}
            if not any((target in meant) is not term.negated for target in targets):
                return False
        elif term.field in {"task", "queue"}:
            text = body.task if term.field == "task" else body.queue
            if _fits(term, (text,)) is term.negated:
                return False
        elif term.field == "tag" and changes and _fits(term, changes[-1]) is term.negated:
            return False
    return True


def _fits(term: Term, texts: Iterable[str]) -> bool:
    """One of the values fits one of the texts."""
    return any(
        glob(v.parts, text) if isinstance(v, Pattern)
        else isinstance(v, Regex) and compiled(v.source, fold=False).search(text)
        for v in term.values for text in texts
    )  # fmt: skip


def hints_of(words: Iterable[str], begun: str) -> list[Hint]:
    """The words that begin so."""
    return [Hint(w, w) for w in words if w.startswith(begun) and w != begun]
