"""What is done about dead letters and reviews: whole pieces of work for the engine, repeatable.

Raises HeadwayError with the engine's reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.replays.moving import meant, plans
from headway.replays.plans import canonical
from headway.texts import plural
from headway.wire.api import Done
from headway.wire.replays import JobRow, Pace, Plan, PlanItem
from headway.wire.runs import RunsPage, RunsQuery
from headway_tui.model.dead import query_of, site_of
from headway_tui.sending import send
from headway_tui.writes import carried_out, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.steering import DeadClass, ResumeAsk
    from headway_tui.link import Link

PAGE = 1000
LIMIT = 20_000
"""Runs of one job that is started from here: its plan still fits some requests."""


async def acknowledge(link: Link, c: DeadClass, told: Callable[[str], None]) -> str:
    """All dead letters of the class that there are now; in words. A job of the engine does it."""
    _check_own(c)
    query = query_of(c, dead=False)
    found = await meant(link.ask, "ack", query)
    rows: list[JobRow] = []
    for body in plans("ack", found, query):
        row = await start(link, body, told)
        rows.append(await carried_out(link, row, lambda now: told(f"{now.job}: {now.succeeded:,}")))
    done = sum(row.succeeded for row in rows)
    return f"{plural(done, 'run')} acknowledged: {c.failure}"


async def again(
    link: Link, c: DeadClass, mode: str, *, canary: int, told: Callable[[str], None]
) -> str:
    """A job that forks (or replays) each run of the class; in words.

    The plan names the job: sent twice, nothing starts twice.
    """
    _check_own(c)
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
    row = await start(link, canonical(plan), told)
    said = f"job {row.job}: {plural(row.items, 'run')}, {row.state}"
    then = f"; the first {canary}, then: headway replay approve {row.job}"
    return said + then if canary and row.state == "running" else said


def _check_own(c: DeadClass) -> None:
    """Raises HeadwayError for runs of a site: what moves many moves the hub's own alone."""
    if site := site_of(c):
        raise HeadwayError(
            f"these are runs of site {site}: acknowledge them there; replay one by one here (enter"
            " lists them)"
        )


async def resolve(link: Link, ask: ResumeAsk, told: Callable[[str], None]) -> str:
    """Resume with decisions; in words."""
    done = await send(link, "resume", ask, Done, told)
    if done.outcome == "sent":
        return f"{ask.run}: {done.message}"
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    what = ", ".join(f"{key} {word}" for key, word in ask.once.items()) or "resumed"
    return f"{ask.run}: {what}; it is {done.status.lower()} now"
