"""Cancel, resume or acknowledge what a query means: one page of runs, decided run by run.

The asker carries the place where it goes on. Repeating a page is safe: a cancel of a cancelled run
is `already`, and a run that was resumed or acknowledged is not among those that are looked for. A
crash in the middle of a page leaves the runs of it that were committed; asking for the page again
does the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import BadQuery
from headway.query import parse, write
from headway.query.evaluate import resolved
from headway.states import LIVE, RunState
from headway.wire.runs import RunsQuery
from headway.wire.steering import BulkAsk, BulkPage
from headway_engine.happenings import Acknowledge, Cancel, Resume

if TYPE_CHECKING:
    from datetime import datetime

    from headway_engine.commits import Commits
    from headway_engine.happenings import Happening
    from headway_engine.store import Store

PAGE = 200
"""Runs of one request."""
MOVABLE = {
    "cancel": tuple(sorted(s.status for s in LIVE - {RunState.CANCELLING})),
    "resume": (RunState.DELAYED.status, RunState.RETRYING.status, RunState.REVIEW.status),
    "ack": ("dead",),
}
"""What a verb can move: other runs are not meant, whatever the query says."""


def meant(ask: BulkAsk, as_of: datetime) -> RunsQuery:
    """The page that a request means. Raises BadQuery, also for a query that means every run."""
    asked = parse(ask.query)
    if not asked.terms:
        raise BadQuery(1, "an empty query means every run", "at least one term, such as task:*")
    return RunsQuery(
        MOVABLE[ask.verb],
        until=as_of,
        query=write(resolved(asked, as_of)),
        after=ask.after,
        n=PAGE,
        sort="oldest",
    )


async def bulk(store: Store, commits: Commits, ns: str, actor: str, ask: BulkAsk) -> BulkPage:
    """Do one page; raises BadQuery and StoreDown."""
    as_of = ask.as_of or await store.now()
    page = await store.runs(ns, meant(ask, as_of))
    answer = BulkPage(as_of, len(page.runs), runs=[r.run for r in page.runs], next=page.next)
    if ask.dry_run or not page.runs:
        return answer
    happening = _happening(ask, actor)
    outcomes = await commits.move_many([(run, happening) for run in answer.runs])
    for run, outcome in zip(answer.runs, outcomes, strict=True):
        if outcome.outcome == "ok":
            answer.done += 1
        elif outcome.outcome == "already":
            answer.already += 1
        else:
            answer.refused[run] = outcome.message or outcome.outcome
    return answer


def _happening(ask: BulkAsk, actor: str) -> Happening:
    match ask.verb:
        case "cancel":
            return Cancel(actor, ask.reason)
        case "resume":
            return Resume(actor)
        case "ack":
            return Acknowledge(actor)
