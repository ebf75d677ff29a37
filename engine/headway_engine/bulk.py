"""What cancel, resume, ack or tag would do to the runs that a query means: counted, not done.

It is done by a job (`jobs.py`), whose plan names the runs that were counted here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import BadQuery
from headway.query import parse, write
from headway.query.evaluate import resolved
from headway.states import LIVE, RunState
from headway.wire.runs import RunsQuery
from headway.wire.steering import BulkAsk, BulkPage
from headway_engine.control import ApiRefused

if TYPE_CHECKING:
    from datetime import datetime

    from headway_engine.store import Store

PAGE = 1000
"""Runs of one answer."""
MOVABLE = {
    "cancel": tuple(sorted(s.status for s in LIVE - {RunState.CANCELLING})),
    "resume": (RunState.DELAYED.status, RunState.RETRYING.status, RunState.REVIEW.status),
    "ack": ("dead",),
    "tag": (),
}
"""What a verb can change (empty = any): other runs are not meant, whatever the query says."""


def meant(ask: BulkAsk, as_of: datetime) -> RunsQuery:
    """The page that a request means. Raises BadQuery, also for a query that means every run."""
    asked = parse(ask.query)
    if not asked.terms and not ask.ids:
        raise BadQuery(1, "an empty query means every run", "at least one term, such as task:*")
    return RunsQuery(
        MOVABLE[ask.verb],
        ids=ask.ids,
        until=as_of,
        query=write(resolved(asked, as_of)),
        after=ask.after,
        n=PAGE,
        sort="oldest",
    )


async def counted(store: Store, ns: str, ask: BulkAsk) -> BulkPage:
    """One page of runs; raises BadQuery, StoreDown, and ApiRefused for a query and ids at once."""
    if ask.ids and ask.query.strip():
        raise ApiRefused("bad_request", "a query, or ids: one of them")
    as_of = ask.as_of or await store.now()
    page = await store.runs(ns, meant(ask, as_of))
    return BulkPage(as_of, [r.run for r in page.runs], page.next)
