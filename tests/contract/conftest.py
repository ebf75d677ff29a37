"""`kit`: each store in turn behind the same port; `postgres_kit`: the Postgres store alone.

Postgres comes twice: a lone item has statements of its own, which the suite would take nearly
always; the third kit goes by those of batches, where that makes a difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from support.stores import EdgeKit, Kit, MemoryKit, PostgresKit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from headway_ops.local.nats import NatsServer


@pytest_asyncio.fixture
async def memory_kit() -> AsyncGenerator[MemoryKit]:
    """The reference store."""
    kit = MemoryKit()
    await kit.start()
    yield kit
    await kit.stop()


@pytest_asyncio.fixture
async def postgres_kit(database: str) -> AsyncGenerator[PostgresKit]:
    """The Postgres store in a database of its own."""
    kit = PostgresKit(database)
    await kit.start()
    yield kit
    await kit.stop()


@pytest_asyncio.fixture
async def edge_kit(nats_server: NatsServer, tmp_path: Path) -> AsyncGenerator[EdgeKit]:
    """RUNS as truth, fsynced."""
    kit = EdgeKit(nats_server, tmp_path)
    await kit.start()
    yield kit
    await kit.stop()


@pytest_asyncio.fixture
async def batches_kit(database: str) -> AsyncGenerator[PostgresKit]:
    """The Postgres store, everything by the statements of batches."""
    kit = PostgresKit(database, short=False)
    await kit.start()
    yield kit
    await kit.stop()


BATCHES = {"test_store_claims", "test_store_enqueue", "test_store_saves"}
NO_OUTBOX = "at the edge what is stored in RUNS is published: there is no outbox"
BY_STORING = "at the edge a dispatch is in WORK by being stored: WORK is asked (own test)"
ESCAPES = (
    "RUNS has bodies within JSON: a lone surrogate, which no door of ours lets in, cannot be there"
)
DIFFERS = {
    "test_bodies_come_back_bit_exact": ESCAPES,
    "test_what_was_not_published_is_found_and_then_forgotten": NO_OUTBOX,
    "test_what_was_published_in_part_is_still_found": NO_OUTBOX,
    "test_an_event_that_was_left_out_is_found_although_later_ones_were_published": NO_OUTBOX,
    "test_what_one_engine_published_leaves_the_rows_of_another": NO_OUTBOX,
    "test_a_dispatch_is_published_again_only_when_it_is_gone": BY_STORING,
    "test_a_dispatch_that_never_reached_work_is_found": BY_STORING,
}
"""Tests of a guarantee that the edge store does not give, or gives otherwise, and why."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which stores a test that takes `kit` runs on."""
    if "kit" in metafunc.fixturenames:
        name = metafunc.definition.path.stem
        extra = ["batches"] if name in BATCHES else []
        if metafunc.definition.originalname not in DIFFERS:
            extra.append("edge")
        metafunc.parametrize("kit", ["memory", "postgres", *extra], indirect=True)


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each store in turn."""
    return request.getfixturevalue(f"{request.param}_kit")
