"""One installation of real processes for the directed tests: two engines, two agents.

Whoever stops or kills one of them brings it back; `fresh` begins each test with its own ledger.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

from headway.wire.fleet import TaskSpec
from support import site as sites
from support.site import running_site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_ops.local.postgres import PostgresServer
    from support.site import Site

TASKS = Path(sites.__file__).with_name("crash_tasks.py")
"""Read, not imported: its tasks are for the runners' processes."""
SPECS = (
    TaskSpec("work", grace=1.0),
    *(TaskSpec(name, isolation="shared") for name in ("quick", "large", "held")),
    TaskSpec("flaky", isolation="shared", min_delay=0.2, jitter=0.0),
    TaskSpec("held-alone"),
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing(postgres_server: PostgresServer, migrated: str) -> AsyncGenerator[Site]:
    """Started once for all directed tests."""
    async with running_site(
        engines=2,
        agents=2,
        server=postgres_server,
        template=migrated,
        tasks=TASKS.read_text(),
        specs=SPECS,
        agent={"slots": 4, "started_timeout": 10.0},  # a busy machine is not what is tested
    ) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def site(standing: Site) -> Site:
    """The standing one, whole again, with a ledger of its own."""
    standing.fresh()
    for role in standing.roles:
        if not role.process.running:
            role.start()
    await standing.ready(2)
    return standing
