"""What the console changes: requests that are safe to repeat. Raises HeadwayError.

Many runs are the engine's work: it is told the query, counts first, and does page after page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.wire.api import Done
from headway.wire.steering import AckAsk, BulkAsk, BulkPage, CancelAsk, ResumeAsk
from headway_tui.sending import send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from msgspec import Struct

    from headway_tui.link import Link

_WORDS = {"cancel": "cancelled", "resume": "resumed", "ack": "acknowledged"}


async def write(link: Link, verb: str, run: str, told: Callable[[str], None]) -> str:
    """Carry out one verb on one run; what happened, in words.

    A request whose answer was lost is made again with the same ids, and the engine recognises it;
    `told` hears of that.
    """
    body: Struct
    if verb == "cancel":
        body = CancelAsk(run)
    elif verb == "resume":
        body = ResumeAsk(run, request=new_run_id())
    else:
        body = AckAsk(run)
    done = await send(link, verb, body, Done, told)
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    if done.outcome == "already":
        return f"{run} is {done.status.lower()} already"
    return f"{run} {_WORDS[verb]}, now {done.status.lower()}"


IDS = 100
"""Runs named in one query."""


def naming(runs: Sequence[str]) -> list[str]:
    """Queries that mean these runs and no others."""
    return [f"id:{','.join(runs[i : i + IDS])}" for i in range(0, len(runs), IDS)]


@dataclass(slots=True)
class Sum:
    """What became of the pages so far."""

    as_of: datetime | None = None
    """Of the first page: later ones touch nothing that was made since."""
    matched: int = 0
    done: int = 0
    already: int = 0
    refused: dict[str, str] = field(default_factory=dict[str, str])
    runs: list[str] = field(default_factory=list[str])
    """The first of them."""

    def words(self, verb: str) -> str:
        """For people."""
        said = [f"{self.done:,} {_WORDS[verb]}"]
        said += [f"{self.already:,} were so already"] if self.already else []
        if self.refused:
            run, why = next(iter(self.refused.items()))
            said.append(f"{len(self.refused):,} refused, the first: {run}: {why}")
        return ", ".join(said)


async def bulk(
    link: Link,
    verb: str,
    queries: Iterable[str],
    *,
    dry_run: bool,
    as_of: datetime | None = None,
    told: Callable[[Sum], None] = lambda _: None,
    unsure: Callable[[str], None] = lambda _: None,
) -> Sum:
    """All pages of these queries, each done in the engine before the next one is asked for.

    `told` hears of each page, `unsure` of one whose answer is asked for again. If it fails in
    between, what was done stays done; doing it again does the rest.
    """
    total = Sum(as_of)
    known: Any = verb
    for query in queries:
        ask = BulkAsk(known, query, dry_run=dry_run, as_of=total.as_of)
        while True:
            if dry_run:
                page = await link.ask("bulk", ask, BulkPage)
            else:
                page = await send(link, "bulk", ask, BulkPage, unsure)
            ask.as_of, ask.after = page.as_of, page.next
            total.as_of = total.as_of or page.as_of
            total.matched += page.matched
            total.done += page.done
            total.already += page.already
            total.refused |= page.refused
            total.runs += page.runs[: max(0, 10 - len(total.runs))]
            told(total)
            if not page.next:
                break
    return total
