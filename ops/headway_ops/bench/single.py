"""One enqueue a message: how many callers, each a process of its own, look to the engine.

A client puts what is enqueued at the same moment into one message, so many clients with one enqueue
in flight each are needed to get one message per enqueue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.client import Client
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from headway_ops.bench.stats import rate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.handles import RunHandle

CLIENTS = 48


class SingleEnqueues:
    """Many clients, each with one enqueue in flight at most."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, count: int = CLIENTS) -> AsyncGenerator[SingleEnqueues]:
        """Connect the clients; closed afterwards."""
        async with contextlib.AsyncExitStack() as ends:
            clients = list[Client]()
            for _ in range(count):
                client = await Client.open()
                ends.push_async_callback(client.close)
                clients.append(client)
            yield cls(clients)

    async def runs(self, task: str, count: int) -> float:
        """Runs a second, from the first enqueue until the last result is in hand."""
        numbers = iter(range(count))
        handles: list[RunHandle[Any]] = []

        async def caller(client: Client) -> None:
            for _ in numbers:
                item = EnqueueItem(run=new_run_id(), task=task, payload=Raw(b"{}"))
                handles.extend(await client.submit([item], type(None)))

        before = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(caller(client))
        for handle in handles:
            await handle.result()
        return rate(count, time.perf_counter() - before)

    @property
    def messages(self) -> int:
        """Enqueue messages sent so far, by all clients together."""
        return sum(client.outbox.messages for client in self._clients)
