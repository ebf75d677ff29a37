"""`kit`: each store in turn behind the same port; `postgres_kit`: the Postgres store alone."""

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


@pytest.fixture(params=["memory", "postgres"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each store in turn."""
    return request.getfixturevalue(f"{request.param}_kit")
