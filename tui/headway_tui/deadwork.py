"""What is done about dead letters and reviews: whole pieces of work for the engine, repeatable.

Raises HeadwayError with the engine's reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.replays.plans import canonical, name_of
from headway.texts import plural
from headway.wire.api import Done
from headway.wire.replays import JobRow, Pace, Plan, PlanItem, PlanStart
from headway.wire.runs import RunsPage, RunsQuery
from headway_tui.model.dead import query_of
from headway_tui.sending import send
from headway_tui.writes import bulk

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.steering import DeadClass, ResumeAsk
    from headway_tui.link import Link

PAGE = 1000
LIMIT = 20_000
"""Runs of one job that is started from here: its plan still fits some requests."""


async def acknowledge(link: Link, c: DeadClass, told: Callable[[str], None]) -> str:
    """All dead letters of the class that there are now; in words.

    Done in the engine, page after page; a page that is repeated changes nothing more.
    """
    done = await bulk(link, "ack", [query_of(c, dead=False)], dry_run=False, unsure=told)
    return f"{plural(done.done, 'run')} acknowledged: {c.failure}"


async def again(
    link: Link, c: DeadClass, mode: str, *, canary: int, told: Callable[[str], None]
) -> str:
    """A job that forks (or replays) each run of the class; in words.

    The plan names the job: sent twice, nothing starts twice.
    """
    items: list[PlanItem] = []
    query = RunsQuery(query=query_of(c), n=PAGE)
    while True:
        page = await link.ask("runs", query, RunsPage)
        items += [PlanItem(r.run, r.checkpoint if mode == "fork" else 0) for r in page.runs]
        if len(items) > LIMIT:
            raise HeadwayError(
                f"more than {LIMIT:,} runs: use a script, see `headway replay plan --help`"
            )
        query.after = page.next
        if not page.more:
            break
    if not items:
        raise HeadwayError("none of them is a dead letter any more")
    items.sort(key=lambda item: item.run)
    plan = Plan(tuple(items), f"dead letters: {c.failure}"[:200], pace=Pace(canary=canary))
    body = canonical(plan)
    start = PlanStart(name_of(body), Raw(body))
    if len(body) > 500_000:
        assert link.client is not None
        run = new_run_id()
        ref = await link.client.upload(run, body, "the plan")
        start = PlanStart(start.sha256, run=run, ref=ref)
    row = await send(link, "plan-start", start, JobRow, told)
    said = f"job {row.job}: {plural(row.items, 'run')}, {row.state}"
    then = f"; the first {canary}, then: headway replay approve {row.job}"
    return said + then if canary and row.state == "running" else said


async def resolve(link: Link, ask: ResumeAsk, told: Callable[[str], None]) -> str:
    """Resume with decisions; in words."""
    done = await send(link, "resume", ask, Done, told)
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    what = ", ".join(f"{key} {word}" for key, word in ask.once.items()) or "resumed"
    return f"{ask.run}: {what}; it is {done.status.lower()} now"
