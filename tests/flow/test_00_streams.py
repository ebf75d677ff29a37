"""The streams as declared: made, repaired, checked, and refusing what they must refuse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headway import bus, history, pull, subjects
from headway.errors import QueueFull
from headway.ids import new_run_id
from headway_engine import streams
from headway_engine.declared import HOUR, Limits, declared
from headway_ops.local.nats import NatsConfig
from support import servers
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg


async def test_declared_streams_are_made_once_and_show_no_drift(
    connection: bus.Connection,
) -> None:
    assert all(d.endswith("missing") for d in await streams.drift(connection))
    facts = await streams.ensure_streams(connection)
    assert {"INGEST", "WORK", "RUNS", "LOGS", "SPANS"} < facts.created.keys()
    assert await streams.drift(connection) == []
    again = await streams.ensure_streams(connection)
    assert again.changed == []
    assert again.created == facts.created


async def test_what_was_changed_by_hand_is_reported_and_put_back(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection)
    config = (await bus.jsapi(connection, "STREAM.INFO.RUNS"))["config"]
    await bus.jsapi(connection, "STREAM.UPDATE.RUNS", {**config, "max_age": 5 * HOUR})
    found = await streams.drift(connection)
    assert len(found) == 1
    assert found[0].startswith("RUNS: max_age")
    await streams.ensure_streams(connection)
    assert await streams.drift(connection) == []


async def test_a_server_with_too_little_room_is_told_what_to_raise() -> None:
    async with servers.running_nats(NatsConfig(max_store="100MB")) as server:
        nc = await bus.connect(servers.settings_for(server.url), kind="engine", ident="t")
        with pytest.raises(bus.JetStreamRefused, match=r"it reserves .* GiB; raise .*max_file_sto"):
            await streams.ensure_streams(nc)
        await nc.close()


async def test_two_engines_declare_at_the_same_moment(connection: bus.Connection) -> None:
    facts = await asyncio.gather(*(streams.ensure_streams(connection) for _ in range(4)))
    assert all(f.created == facts[0].created for f in facts)
    assert await streams.drift(connection) == []


async def test_only_what_must_be_fsynced_is(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    modes = {
        name: (await bus.jsapi(connection, f"STREAM.INFO.{name}"))["config"].get("persist_mode")
        for name in declared()
    }
    assert modes.pop("INGEST") in (None, "default")
    assert set(modes.values()) == {"async"}


async def test_durability_is_what_the_server_shows_and_lazy_when_nobody_knows() -> None:
    for always, expected in ((True, "fsynced"), (False, "lazy")):
        async with servers.running_nats(NatsConfig(monitor=True, sync_always=always)) as server:
            settings = servers.settings_for(server.url)
            nc = await bus.connect(settings, kind="engine", ident="t")
            shown = await streams.ensure_streams(nc, monitor_url=server.monitor_url)
            unknown = await streams.ensure_streams(nc)
            await nc.close()
            assert (shown.durability, unknown.durability) == (expected, "lazy")


async def test_full_ingest_is_queue_full_and_heals_when_there_is_room(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection, limits=Limits(ingest_bytes=2000))
    subject = subjects.ingest("default")

    async def fill() -> None:
        for _ in range(100):
            await bus.publish_acked(connection, subject, b"x" * 200)

    with pytest.raises(QueueFull):
        await fill()
    assert (await bus.jsapi(connection, "STREAM.INFO.INGEST"))["state"]["messages"] > 1
    await bus.jsapi(connection, "STREAM.PURGE.INGEST")
    await bus.publish_acked(connection, subject, b"x" * 200)


async def test_ingest_refuses_forged_headers(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    subject = subjects.ingest("default")
    for headers in (
        {"Nats-Rollup": "all"},
        {"Nats-TTL": "1s"},
        {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "hw.in.other"},
    ):
        with pytest.raises(bus.JetStreamRefused):
            await bus.publish_acked(connection, subject, b"{}", headers)


async def test_transitions_are_republished_after_they_are_stored(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection)
    heard: list[Msg] = []

    async def note(msg: Msg) -> None:
        heard.append(msg)

    await connection.subscribe(subjects.live_event("default"), cb=note)
    run = new_run_id()
    ack = await bus.publish_acked(connection, subjects.run_event("default", run), b"{}")
    await until(lambda: heard)
    assert history.sequence_of(heard[0]) == ack.seq
    assert subjects.run_of(heard[0].subject) == run


async def test_each_queue_has_one_consumer_that_sees_only_its_runs(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection)
    name = ""
    for queue in ("a", "b"):
        for _ in range(2):
            name = await streams.ensure_work_consumer(connection, "default", queue)
            assert name == subjects.work_consumer("default", queue)
        await bus.publish_acked(connection, subjects.work("default", queue), queue.encode())
    got: list[Msg] = []
    loop = pull.PullLoop(connection, "WORK", name, want=lambda: 10 - len(got), deliver=got.extend)
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await until(lambda: got)
        await pull.ack(connection, got)
        loop.stop()
    assert [m.data for m in got] == [b"b"]


def test_a_server_that_skips_fsyncs_is_refused() -> None:
    class Old:
        class connected_server_version:
            major, minor, patch = 2, 15, 0

    with pytest.raises(streams.ServerTooOld, match=r"2\.15\.0"):
        streams.check_version(Old)  # pyright: ignore[reportArgumentType]
