"""Conditional writes, atomic batches, keys with a time to live, streams of the edge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from headway import bus, fencing, history, subjects
from headway.errors import HeadwayError, NotReachable, QueueFull
from headway.fencing import Change, Message, append, append_all, stored
from headway.ids import new_run_id
from headway_engine import streams
from headway_engine.declared import Limits, declared_edge
from headway_ops.local.nats import NatsConfig
from support import servers
from support.proxy import Proxy
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from headway_ops.local.nats import NatsServer

NS = "default"
RUNS = subjects.RUNS


@pytest_asyncio.fixture
async def nc(connection: bus.Connection) -> bus.Connection:
    """A connection to a server that has the streams of the edge."""
    await streams.ensure_streams(connection, "edge", fsynced=True)
    return connection


def event(run: str, last: int = 0, *bodies: bytes) -> Change:
    """A change of one run."""
    subject = subjects.run_event(NS, run)
    found = tuple(Message(subject, body) for body in bodies or (b"{}",))
    return Change(subjects.run_all(NS, run), last, found)


async def bodies(nc: bus.Connection, run: str = "*") -> list[bytes]:
    subject = f"hw.run.{NS}.*.ev" if run == "*" else subjects.run_event(NS, run)
    return [m.data async for m in history.history(nc, RUNS, subject)]


async def test_one_of_twenty_writers_wins_and_the_others_hear_the_real_number(
    nc: bus.Connection,
) -> None:
    run = new_run_id()
    first = await append(nc, RUNS, event(run))
    found = await asyncio.gather(
        *(append(nc, RUNS, event(run, first)) for _ in range(20)), return_exceptions=True
    )
    won = [f for f in found if isinstance(f, int)]
    lost = [f for f in found if isinstance(f, bus.WrongLast)]
    assert (len(won), len(lost)) == (1, 19)
    assert {e.last for e in lost} == set(won)


async def test_a_change_of_several_messages_is_stored_whole_or_not_at_all(
    nc: bus.Connection,
) -> None:
    run = new_run_id()
    change = event(run, 0, b"1", b"2", b"3")
    seq = await append(nc, RUNS, change)
    assert await stored(nc, RUNS, change) == seq
    assert await bodies(nc, run) == [b"1", b"2", b"3"]
    with pytest.raises(bus.WrongLast):
        await append(nc, RUNS, event(run, seq - 1, b"4", b"5"))
    assert await bodies(nc, run) == [b"1", b"2", b"3"]


async def test_of_a_batch_the_stale_one_is_refused_and_the_others_are_stored(
    nc: bus.Connection,
) -> None:
    runs = [new_run_id() for _ in range(40)]
    await append(nc, RUNS, event(runs[7]))
    changes = [event(run, 0, b"a", b"b") for run in runs]
    found = await append_all(nc, RUNS, changes)
    assert [k for k, f in enumerate(found) if isinstance(f, HeadwayError)] == [7]
    assert isinstance(found[7], bus.WrongLast)
    for change, seq in zip(changes, found, strict=True):
        assert await stored(nc, RUNS, change) == (0 if isinstance(seq, HeadwayError) else seq)
    assert len(await bodies(nc)) == 2 * 39 + 1


async def test_more_than_a_batch_holds_goes_into_several_with_the_right_numbers(
    nc: bus.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "BATCH", 30)
    changes = [event(new_run_id(), 0, b"a", b"b") for _ in range(50)]
    found = await append_all(nc, RUNS, changes)
    assert sorted(map(str, found), key=int) == [str(2 * k) for k in range(1, 51)]
    assert [await stored(nc, RUNS, c) for c in changes] == found


async def test_a_lost_ack_is_found_out_and_nothing_is_stored_twice(
    nc: bus.Connection, nats_server: NatsServer
) -> None:
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        far = await bus.connect(servers.settings_for(url), kind="engine", ident="far")
        for count in (1, 3, 40):
            changes = [event(new_run_id(), 0, b"x") for _ in range(count)]
            before = len(await bodies(nc))
            await far.flush()
            proxy.half_open()  # what we say arrives, what the server says does not
            work = asyncio.create_task(append_all(far, RUNS, changes, timeout=20.0))

            async def arrived(most: int = before + count) -> bool:
                return len(await bodies(nc)) == most

            await until(arrived)
            # A break that both sides see: the requests end and are made again.
            proxy.heal()
            proxy.reset()
            found = await work
            assert found == [await stored(nc, RUNS, c) for c in changes]
            assert len(await bodies(nc)) == before + count
        await far.close()


async def test_who_never_hears_may_ask_later_with_the_same_change(
    nc: bus.Connection, nats_server: NatsServer
) -> None:
    change = event(new_run_id())
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        far = await bus.connect(servers.settings_for(url), kind="engine", ident="far")
        await far.flush()
        proxy.half_open()
        with pytest.raises(NotReachable):
            await append(far, RUNS, change, timeout=0.2)
        proxy.heal()
        await far.close()
    assert await append(nc, RUNS, change) == await stored(nc, RUNS, change) == 1
    assert len(await bodies(nc)) == 1


async def test_batches_survive_the_death_of_the_server_whole(
    nc: bus.Connection, nats_server: NatsServer
) -> None:
    changes = [event(new_run_id(), 0, b"a", b"b") for _ in range(200)]
    work = asyncio.create_task(append_all(nc, RUNS, changes, timeout=20.0))
    await asyncio.sleep(0)
    nats_server.kill()
    await nats_server.start()
    found = await work
    assert not [f for f in found if isinstance(f, HeadwayError)]
    assert found == [await stored(nc, RUNS, c) for c in changes]
    assert len(await bodies(nc)) == 400


async def test_a_full_stream_refuses_and_keeps_what_it_has(connection: bus.Connection) -> None:
    limits = Limits(runs_bytes=3000)
    await streams.ensure_streams(connection, "edge", limits=limits, fsynced=True)
    kept = event(new_run_id(), 0, b"x" * 1000)
    seq = await append(connection, RUNS, kept)
    with pytest.raises(QueueFull):
        await append(connection, RUNS, event(new_run_id(), 0, b"x" * 3000))
    found = await append_all(
        connection, RUNS, [event(new_run_id(), 0, b"x" * 200) for _ in range(40)]
    )
    assert all(isinstance(f, HeadwayError) for f in found)
    assert await stored(connection, RUNS, kept) == seq


async def test_what_is_ready_stands_in_work_under_its_queue(nc: bus.Connection) -> None:
    run = new_run_id()
    ready = Message(subjects.run_ready(NS, run, "agents"), b'{"run":1}')
    seq = await append(nc, RUNS, Change(subjects.run_all(NS, run), 0, (ready,)))

    async def there() -> history.Stored | None:
        return await history.last(nc, subjects.WORK, subjects.work(NS, "agents"))

    found = await until(there)
    assert found is not None
    assert found.data == b'{"run":1}'
    assert found.headers["Nats-Stream-Source"].startswith(f"RUNS {seq} ")
    assert (await bus.jsapi(nc, "STREAM.INFO.WORK"))["state"]["messages"] == 1


async def test_no_message_of_a_run_can_be_deleted_expire_or_roll_others_up(
    nc: bus.Connection,
) -> None:
    change = event(new_run_id(), 0, b"1", b"2")
    seq = await append(nc, RUNS, change)
    with pytest.raises(bus.JetStreamRefused):
        await bus.jsapi(nc, "STREAM.MSG.DELETE.RUNS", {"seq": seq})
    subject = change.messages[0].subject
    for headers in (
        {"Nats-TTL": "1"},
        {"Nats-Rollup": "all"},
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": subject},
    ):
        with pytest.raises(bus.JetStreamRefused):
            await bus.publish_acked(nc, subject, b"", headers)
    assert len(await bodies(nc)) == 2


async def test_refused_writes_are_seen_by_no_observer(nc: bus.Connection) -> None:
    run = new_run_id()
    seen: list[bytes] = []
    await nc.listen(f"hw.live.run.{NS}.>", lambda msg: seen.append(msg.data))
    seq = await append(nc, RUNS, event(run, 0, b"1", b"2"))
    with pytest.raises(bus.WrongLast):
        await append(nc, RUNS, event(run, 0, b"refused"))
    await append(nc, RUNS, event(run, seq, b"3"))
    await until(lambda: len(seen) == 3)
    assert seen == [b"1", b"2", b"3"]


@pytest_asyncio.fixture
async def monitored() -> AsyncGenerator[NatsServer]:
    """A server with a monitoring port that fsyncs only now and then."""
    async with servers.running_nats(NatsConfig(monitor=True, sync_always=False)) as server:
        yield server


async def test_the_edge_demands_a_server_that_fsyncs(
    monitored: NatsServer, nats_server: NatsServer
) -> None:
    lazy = await bus.connect(servers.settings_for(monitored.url), kind="engine", ident="l")
    sure = await bus.connect(servers.settings_for(nats_server.url), kind="engine", ident="s")
    with pytest.raises(streams.NotDurable, match="sync_interval: always"):
        await streams.ensure_streams(lazy, "edge", fsynced=True, monitor_url=monitored.monitor_url)
    with pytest.raises(streams.NotDurable, match=r"nobody says so.*nats\.monitor_url"):
        await streams.ensure_streams(lazy, "edge")
    # The port of another server proves nothing.
    with pytest.raises(streams.NotDurable, match="does not show it"):
        await streams.ensure_streams(sure, "edge", monitor_url=monitored.monitor_url)
    assert await streams.drift(lazy)
    # Made there for a server, they are nobody's truth: an edge does not take them over.
    await streams.ensure_streams(sure)
    with pytest.raises(streams.WrongMode, match=r"leave edge\.folder out"):
        await streams.ensure_streams(sure, "edge", fsynced=True)
    await lazy.close()
    await sure.close()


async def test_the_streams_of_the_edge_are_made_once_and_truth_is_synced(
    nc: bus.Connection,
) -> None:
    with pytest.raises(streams.WrongMode, match=r"set edge\.folder"):
        await streams.ensure_streams(nc)
    again = await streams.ensure_streams(nc, "edge", fsynced=True)
    assert again.changed == []
    assert again.durability == "fsynced"
    modes = {
        name: (await bus.jsapi(nc, f"STREAM.INFO.{name}"))["config"].get("persist_mode")
        for name in again.created
    }
    synced = {name for name, mode in modes.items() if mode in (None, "default")}
    assert synced == {"INGEST", "RUNS", "KV_headway-settings"}


async def test_what_was_put_off_while_runs_was_not_there_goes_on_at_once(
    connection: bus.Connection,
) -> None:
    """As after a restart, when nats-server has WORK back before RUNS."""

    async def work() -> dict[str, Any]:
        return await bus.jsapi(connection, f"STREAM.INFO.{subjects.WORK}")

    async def failed() -> bool:
        return "error" in (await work())["sources"][0]

    async def ready(run: str) -> None:
        change = Change(
            subjects.run_all(NS, run), 0, (Message(subjects.of_run(NS, run, "ready.q"), b"{}"),)
        )
        await append(connection, RUNS, change)

    await bus.jsapi(connection, f"STREAM.CREATE.{subjects.WORK}", declared_edge()[subjects.WORK])
    await until(failed, what="WORK looks for RUNS")
    await streams.ensure_streams(connection, "edge", fsynced=True)
    await ready(new_run_id())
    # By itself nats-server looks again after ten seconds.
    await until(lambda: streams.waiting(connection, subjects.WORK), 5, what="WORK has it")
    for k in range(2):
        await streams.ensure_streams(connection, "edge", fsynced=True)
        await ready(new_run_id())
        await until(
            lambda n=k + 2: _is(streams.waiting(connection, subjects.WORK), n), what="WORK has it"
        )
    assert await streams.drift(connection) == []


async def _is(count: Awaitable[int], wanted: int) -> bool:
    return await count == wanted
