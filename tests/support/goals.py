"""The console's numbers and their goals, line by line, on real servers and in real terminals.

`tests/tui/figures.py` prints them, a nightly test holds them to the goals, and the normal run does
a short round of each without looking at a clock.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headway.wire.fleet import TaskSpec
from support import figures_link, figures_list, figures_run, million
from support.engines import calling, config_for, running_engine
from support.figures import Place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

    from headway_ops.local.nats import NatsServer
    from support.figures import Amount, Figure

    Line = Callable[[Place], Awaitable[list[Figure]]]

LINES: dict[str, Line] = {
    "start": figures_run.started,
    "keys": figures_run.keys,
    "lines": figures_run.flooded,
    "slow": figures_run.slow,
    "fast": figures_run.fast,
    "crowded": figures_run.crowded,
    "memory": figures_run.grown,
    "open": figures_run.long_output,
    "search": figures_run.searched,
    "event": figures_link.events,
    "cut": figures_link.cut,
    "idle": figures_run.idle,
}
"""Lines that need a few runs only."""
LISTS: dict[str, Line] = {
    "list": figures_list.listed,
    "filter": figures_list.filtered,
    "plan": figures_list.planned,
}
"""Lines that need very many."""


@asynccontextmanager
async def _place(server: NatsServer, dsn: str, amount: Amount) -> AsyncGenerator[Place]:
    # The busy month is long ago; its rows are to stay.
    config = config_for(server.url, dsn, retention=100 * 365 * 86_400.0)
    async with running_engine(config), calling(server.url) as caller:
        await caller.deploy(TaskSpec("noop"))
        yield Place(server, dsn, caller, "", amount)


async def measured(
    server: NatsServer,
    dsn: str,
    amount: Amount,
    only: Collection[str] = (),
    told: Callable[[Figure], object] | None = None,
) -> list[Figure]:
    """These lines, or all of them, on this broker, each with a run of its own; `told` of each."""
    found: list[Figure] = []
    wanted = [name for name in LINES if not only or name in only]
    lists = [name for name in LISTS if not only or name in only]
    if lists:
        await million.fill(dsn, amount.runs)
    async with _place(server, dsn, amount) as place:
        for name in (*lists, *wanted):
            if name in LINES:
                place = place._replace(run=(await place.caller.enqueue("noop")).run)
            for figure in await (LINES | LISTS)[name](place):
                found.append(figure)
                if told is not None:
                    told(figure)
    return found
