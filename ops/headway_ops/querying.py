"""From the command line to one query: words in the language, and options that are short for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headway.query import both, parse, write
from headway.query.asked import query_of
from headway.query.tree import Moment, Query, Term
from headway.retry import seconds
from headway.wire.runs import RunsQuery
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.errors import BadQuery
    from headway.wire.runs import RunsPage


def canonical(
    words: Sequence[str] = (),
    status: Sequence[str] = (),
    task: str = "",
    queue: str = "",
    tags: Sequence[str] = (),
    since: str = "",
    text: str = "",
) -> str:
    """The whole query as canonical text; raises BadQuery with the place underlined in a note."""
    states = tuple(w.lower() for word in status for w in word.split(",") if w)
    options = query_of(RunsQuery(states, task, queue, tuple(tags), text=text))
    return write(both(checked(write(options)), created(since), checked(" ".join(words))))


def checked(text: str) -> Query:
    """The query; raises BadQuery that shows the place."""
    from headway.errors import BadQuery

    try:
        return parse(text)
    except BadQuery as e:
        for line in underlined(text, e):
            e.add_note(line)
        raise


def underlined(text: str, error: BadQuery, width: int = 70) -> list[str]:
    """The part of the query around the flaw, and a mark below it."""
    start = max(0, error.column - 1 - width // 2)
    shown = "".join(c if c.isprintable() else " " for c in text[start : start + width])
    return [shown, " " * (error.column - 1 - start) + "^"] if text else []


def created(since: str) -> Query:
    """`2h`, or a time, local if it names no zone."""
    if not since:
        return Query()
    if (at := written_time(since)) is not None:
        return Query((Term("since", (Moment(at),)),))
    return checked(f'since:"{since}"' if '"' not in since else f"since:{since}")


def written_time(text: str) -> datetime | None:
    """An RFC 3339 time, local without a zone, in UTC; None if it does not look like one."""
    if not text[:4].isdigit() or "-" not in text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Fail(f"{text!r} is no time", 'write "2h" or 2026-01-31T12:00', Exit.USAGE) from None


def moment(text: str, now: datetime) -> datetime:
    """`2h` ago, or an RFC 3339 time; without a zone it is local."""
    return written_time(text) or now - timedelta(seconds=seconds(text, "since"))


def total_of(page: RunsPage) -> str:
    """`142`, `about 1.2M`; empty if the engine does not say, or has seen none in its sample."""
    if page.total is None or (page.estimated and not page.total):
        return ""
    return f"about {rounded(page.total)}" if page.estimated else f"{page.total:,}"


def rounded(number: int) -> str:
    """A large number with two digits: 1.2M, 45k."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (1000, "k")):
        if number >= size:
            many = number / size
            return f"{many:.1f}{unit}" if many < 10 else f"{many:.0f}{unit}"
    return str(number)
