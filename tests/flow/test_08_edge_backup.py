"""A copy of an edge is taken while it works, and is all that another box needs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import Raw

from headway.client import Client
from headway.config import Settings
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import QueueAsk, QueueRow
from headway.wire.runs import RunsQuery
from support.up import WITHIN, Up, project, start

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.client import RunHandle

pytestmark = pytest.mark.timeout(120)
LARGE = "tides " * 60_000
"""More than a message holds: it lies in the blobs."""


@asynccontextmanager
async def client_of(up: Up) -> AsyncGenerator[Client]:
    """A client of the stack."""
    async with await Client.open(Settings(nats_url=up.facts["nats_url"])) as client:
        yield client


async def greet(client: Client, name: str, **fields: Any) -> RunHandle[Any]:
    item = EnqueueItem(new_run_id(), "greet", Raw(msgspec.json.encode({"name": name})), **fields)
    return (await client.submit([item]))[0]


async def statuses(client: Client) -> dict[str, str]:
    return {row.run: row.status for row in (await client.runs(RunsQuery(n=500))).runs}


async def test_a_backup_of_a_working_edge_is_restored_on_another_box() -> None:
    with project() as folder:
        first = start(folder, "--edge", "--tasks", "app.py")
        async with client_of(first) as client:
            done = await greet(client, "ana", key="k1")
            assert await done.result(WITHIN) == "hello ana"
            large = await greet(client, LARGE)
            assert await large.result(WITHIN) == f"hello {LARGE}"
            held = await greet(client, "bo", delay=3600)
            await client.api("queue-set", QueueAsk("slow", limit=3), QueueRow)
            before = await statuses(client)
        copy = first.headway("edge", "backup", str(folder / "copy"))
        assert copy.returncode == 0, copy.stderr
        again = first.headway("edge", "backup", str(folder / "copy"))
        assert (again.returncode, "not empty" in again.stderr) == (4, True)
        over = first.headway("edge", "restore", str(folder / "copy"))
        assert (over.returncode, "an engine runs" in over.stderr) == (4, True)
        async with client_of(first) as client:
            await (await greet(client, "after the backup")).result(WITHIN)
        assert first.stop() == 0, first.error
        mine = first.headway("edge", "restore", str(folder / "copy"), "--state-dir", ".headway")
        assert (mine.returncode, "holds runs of its own" in mine.stderr) == (4, True)

        put = first.headway("edge", "restore", str(folder / "copy"), "--state-dir", "other")
        assert put.returncode == 0, put.stderr
        other = start(folder, "--edge", "--tasks", "app.py", "--state-dir", "other")
        try:
            async with client_of(other) as client:
                assert await statuses(client) == before
                assert await client.result(large.id, within=WITHIN) == f"hello {LARGE}"
                assert (await greet(client, "ana", key="k1")).id == done.id
                queues = await client.api("queues", None, list[QueueRow])
                assert [q.limit for q in queues if q.queue == "slow"] == [3]
                await client.cancel(held.id)
                replayed = await client.replay(done.id)
                assert await replayed.result(WITHIN) == "hello ana"
        finally:
            assert other.stop() == 0, other.error

        blob = folder / "copy" / "RUNS.snapshot"
        body = bytearray(blob.read_bytes())
        body[len(body) // 2] ^= 1
        blob.write_bytes(body)
        bad = first.headway("edge", "restore", str(folder / "copy"), "--state-dir", "third")
        assert (bad.returncode, "is damaged" in bad.stderr) == (4, True)
        assert not (folder / "third").exists()
