"""What a killed nats-server lost of RUNS is told again by the engine that had told it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway import bus, history, subjects
from headway.ids import new_run_id
from headway.wire.events import Event
from headway_engine import streams
from headway_engine.post import Post
from headway_engine.relay import RECENT_BYTES, RECENT_FOR, Relay
from headway_engine.store.memory import MemoryStore
from support import servers
from support.wait import until

if TYPE_CHECKING:
    from headway_ops.local.nats import NatsServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_events_that_a_killed_server_lost_are_told_again(nats_server: NatsServer) -> None:
    nc = await bus.connect(servers.settings_for(nats_server.url), kind="engine", ident="e1")
    await streams.ensure_streams(nc)
    clock = [0.0]
    relay = Relay(
        nc, MemoryStore("e1"), Post(nc, "answers"), Post(nc, "work"), clock=lambda: clock[0]
    )
    nc.when_back(relay.reconnected)
    runs = [new_run_id() for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        work = group.create_task(relay.run())
        for run in runs:
            relay.events("default", run, "t", "default", [Event(1, NOW, "queued")])
        await until(lambda: relay.published == len(runs))
        await history.purge(nc, subjects.RUNS, "hw.run.>")  # what a kill may leave of it
        nats_server.kill()
        clock[0] += 10 * RECENT_FOR  # away for long: what it may have lost is the same
        await nats_server.start()
        await until(lambda: relay.again == len(runs), 10)
        told = [m.subject async for m in history.history(nc, subjects.RUNS, "hw.run.default.*.ev")]
        assert told == [subjects.run_event("default", run) for run in runs]
        work.cancel()
    await nc.close()


async def test_what_is_kept_to_be_told_again_is_bounded_by_time_and_size(
    nats_server: NatsServer,
) -> None:
    nc = await bus.connect(servers.settings_for(nats_server.url), kind="engine", ident="e1")
    await streams.ensure_streams(nc)
    clock = [0.0]
    relay = Relay(
        nc, MemoryStore("e1"), Post(nc, "answers"), Post(nc, "work"), clock=lambda: clock[0]
    )

    async def tell(count: int, data: dict[str, str]) -> None:
        told = relay.published + count
        for _ in range(count):
            relay.events("default", new_run_id(), "t", "default", [Event(1, NOW, "q", data=data)])
        await until(lambda: relay.published == told, 10)

    async with asyncio.TaskGroup() as group:
        work = group.create_task(relay.run())
        for _ in range(10):
            await tell(20, {})
            clock[0] += RECENT_FOR / 4
        assert relay.recent == 5 * 20  # of the last four quarters, and those just told
        large = 500_000
        await tell(2 * RECENT_BYTES // large, {"text": "x" * large})
        assert 0 < relay.recent <= RECENT_BYTES // large
        work.cancel()
    await nc.close()
