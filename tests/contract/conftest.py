"""`kit`: each store in turn behind the same port; `postgres_kit`: the Postgres store alone.

Postgres comes twice: a lone item has statements of its own, which the suite would take nearly
always; the third kit goes by those of batches, where that makes a difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from support.stores import Kit, MemoryKit, PostgresKit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


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
async def batches_kit(database: str) -> AsyncGenerator[PostgresKit]:
    """The Postgres store, everything by the statements of batches."""
    kit = PostgresKit(database, short=False)
    await kit.start()
    yield kit
    await kit.stop()


BATCHES = {"test_store_claims", "test_store_enqueue", "test_store_saves"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which stores a test that takes `kit` runs on."""
    if "kit" in metafunc.fixturenames:
        name = metafunc.definition.path.stem
        extra = ["batches"] if name in BATCHES else []
        metafunc.parametrize("kit", ["memory", "postgres", *extra], indirect=True)


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each store in turn."""
    return request.getfixturevalue(f"{request.param}_kit")
