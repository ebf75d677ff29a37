"""The NATS layer against real servers: typed errors, pull loop, history, faults on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from nats.errors import ConnectionClosedError, MaxPayloadError

from headway import bus, history, pull, subjects
from headway.config import Settings
from headway.errors import NotReachable
from headway.ids import new_run_id
from headway.steadynats import settled
from headway_engine import streams
from support import servers
from support.proxy import Proxy
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from nats.aio.msg import Msg

    from headway_ops.local.nats import NatsServer

RUN = new_run_id()
SUBJECT = subjects.run_event("default", RUN)
WORK = subjects.work("default", "q")


class Taker:
    """Takes what a pull loop delivers, with a number of free slots."""

    def __init__(
        self, nc: bus.Connection, durable: str, slots: int, heartbeat: float = 1.0
    ) -> None:
        self.slots = slots
        self.got: list[Msg] = []
        self.batches: list[int] = []
        self.loop = pull.PullLoop(
            nc,
            subjects.WORK,
            durable,
            want=lambda: self.slots,
            deliver=self.take,
            heartbeat=heartbeat,
            expires=heartbeat * 5,
        )

    def take(self, batch: list[Msg]) -> None:
        """What the loop hands over."""
        self.got += batch
        self.batches.append(len(batch))
        self.slots -= len(batch)

    def free(self, count: int) -> None:
        """So many slots are free again."""
        self.slots += count
        self.loop.wake()


@asynccontextmanager
async def pulling(nc: bus.Connection, slots: int, heartbeat: float = 1.0) -> AsyncGenerator[Taker]:
    await streams.ensure_streams(nc)
    durable = await streams.ensure_work_consumer(nc, "default", "q")
    taker = Taker(nc, durable, slots, heartbeat)
    async with asyncio.TaskGroup() as group:
        group.create_task(taker.loop.run())
        yield taker
        taker.loop.stop()


async def test_no_server_is_not_reachable_and_says_where_and_what_to_do() -> None:
    settings = Settings(nats_url="nats://me:secret@127.0.0.1:1", connect_timeout=0.3)
    with pytest.raises(NotReachable, match=r"127\.0\.0\.1:1.*headway up") as e:
        await bus.connect(settings, kind="client", ident="t")
    assert "secret" not in str(e.value)


async def test_nobody_listening_and_nobody_answering_are_not_reachable(
    connection: bus.Connection,
) -> None:
    with pytest.raises(NotReachable, match=r"nobody answers hw\.api"):
        await bus.ask(connection, subjects.api("default", "u", "info"))

    async def mute(_: Msg) -> None:
        pass

    await connection.subscribe("hw.mute", cb=mute)
    with pytest.raises(NotReachable, match=r"within 0\.1 s"):
        await bus.ask(connection, "hw.mute", timeout=0.1)


async def test_a_stale_writer_loses_the_compare_and_set(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    over = f"hw.run.default.{RUN}.>"
    first = await bus.publish_acked(connection, SUBJECT, b"1", bus.expect_last(0, over))
    with pytest.raises(bus.WrongLast):
        await bus.publish_acked(connection, SUBJECT, b"again", bus.expect_last(0, over))
    headers = bus.expect_last(first.seq, over)
    await bus.publish_acked(connection, SUBJECT, b"2", headers)
    assert len(headers) == 2, "the caller's headers were written into"


async def test_a_batch_is_stored_whole_and_in_order_for_one_ack(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection)
    batch = [(SUBJECT, b"%d" % i) for i in range(1200)]
    ack = await bus.publish_batch_acked(connection, batch)
    assert ack is not None
    assert ack.seq == 1200
    read = [m async for m in history.history(connection, "RUNS", SUBJECT)]
    assert [m.data for m in read] == [b for _, b in batch]
    assert [m.seq for m in read] == list(range(1, 1201))
    tail = [m.seq async for m in history.history(connection, "RUNS", SUBJECT, 1199)]
    assert tail == [1199, 1200]


async def test_a_batch_is_not_acknowledged_across_two_connections(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ack of its last message says nothing of those that were lost with the old connection."""
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        nc = await bus.connect(servers.settings_for(url), kind="engine", ident="e")
        await streams.ensure_streams(nc)
        publish = bus.publish_acked

        async def breaks_first(*args: Any, **options: Any) -> bus.PubAck:
            life = nc.stats["reconnects"]
            proxy.reset()
            await until(lambda: nc.is_connected and nc.stats["reconnects"] > life)
            return await publish(*args, **options)

        monkeypatch.setattr(bus, "publish_acked", breaks_first)
        with pytest.raises(NotReachable, match="broke meanwhile"):
            await bus.publish_batch_acked(nc, [(SUBJECT, b"%d" % i) for i in range(3)])
        await nc.close()


async def test_last_is_the_newest_message_or_none(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    assert await history.last(connection, "RUNS", SUBJECT) is None
    assert [m async for m in history.history(connection, "RUNS", SUBJECT)] == []
    for body in (b"a", b"b"):
        await bus.publish_acked(connection, SUBJECT, body, {"Status": "404"})
    found = await history.last(connection, "RUNS", SUBJECT)
    assert found is not None
    assert (found.data, found.seq, found.subject) == (b"b", 2, SUBJECT)
    # A user's own header that looks like an end of the read does not end it.
    assert len([m async for m in history.history(connection, "RUNS", SUBJECT)]) == 2


async def test_no_more_is_pulled_than_there_is_room_for(connection: bus.Connection) -> None:
    async with pulling(connection, slots=3) as taker:
        await bus.publish_batch_acked(connection, [(WORK, b"%d" % i) for i in range(10)])
        await until(lambda: len(taker.got) == 3)
        await never(lambda: len(taker.got) > 3, during=0.1)
        taker.free(2)
        await until(lambda: len(taker.got) == 5)
        await never(lambda: len(taker.got) > 5, during=0.1)
        await pull.ack(connection, taker.got)
    info = await bus.jsapi(connection, "STREAM.INFO.WORK")
    assert info["state"]["messages"] == 5


async def test_messages_that_come_later_are_delivered_at_once(
    connection: bus.Connection,
) -> None:
    async with pulling(connection, slots=1000, heartbeat=60) as taker:
        await until(lambda: taker.loop.outstanding)
        await bus.publish_acked(connection, WORK, b"x")
        await until(lambda: taker.got)
        assert taker.loop.outstanding == 999


async def test_requests_that_run_out_are_made_again_without_asking_twice(
    connection: bus.Connection,
) -> None:
    await streams.ensure_streams(connection)
    durable = await streams.ensure_work_consumer(connection, "default", "q")
    got: list[Msg] = []
    loop = pull.PullLoop(
        connection, "WORK", durable, want=lambda: 5 - len(got), deliver=got.extend,
        expires=0.2, heartbeat=0.1,
    )  # fmt: skip
    seen: set[int] = set()
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await until(lambda: loop.outstanding == 5)
        deadline = time.monotonic() + 1.0
        await until(lambda: seen.add(loop.outstanding) or time.monotonic() > deadline)
        await bus.publish_batch_acked(connection, [(WORK, b"%d" % i) for i in range(9)])
        await until(lambda: len(got) == 5)
        await never(lambda: len(got) > 5, during=0.3)
        loop.stop()
    assert max(seen) == 5


async def test_what_arrives_while_it_stops_is_given_back_at_once(
    connection: bus.Connection, nats_server: NatsServer
) -> None:
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        nc = await bus.connect(servers.settings_for(url), kind="agent", ident="a")
        async with pulling(nc, slots=50, heartbeat=60) as taker:
            await until(lambda: taker.loop.outstanding)
            await nc.flush()
            proxy.half_open()
            await bus.publish_batch_acked(connection, [(WORK, b"%d" % i) for i in range(50)])
            consumer = f"CONSUMER.INFO.WORK.{subjects.work_consumer('default', 'q')}"

            async def delivered() -> bool:
                return bool((await bus.jsapi(connection, consumer))["num_ack_pending"] == 50)

            await until(delivered)
            taker.loop.stop()
            # Delivered by the server, not yet here: without the nak they would be 30 s away.
            proxy.heal()
        await nc.close()
    assert taker.got == []
    async with pulling(connection, slots=50) as second:
        await until(lambda: len(second.got) == 50)
        assert pull.delivery_of(second.got[0]).delivered == 2


async def test_a_nak_brings_a_message_back_and_a_term_never_does(
    connection: bus.Connection,
) -> None:
    async with pulling(connection, slots=10) as taker:
        await bus.publish_acked(connection, WORK, b"x")
        await until(lambda: len(taker.got) == 1)
        await pull.nak(connection, taker.got)
        await until(lambda: len(taker.got) == 2)
        assert pull.delivery_of(taker.got[1]).delivered == 2
        await pull.term(connection, taker.got[1:], "poison: seen\r\ntoo often")
        await never(lambda: len(taker.got) > 2, during=0.1)
    assert (await bus.jsapi(connection, "STREAM.INFO.WORK"))["state"]["messages"] == 0


async def test_late_acks_go_out_together_and_at_the_latest_with_a_flush(
    connection: bus.Connection,
) -> None:
    async def left() -> int:
        return (await bus.jsapi(connection, "STREAM.INFO.WORK"))["state"]["messages"]

    async def is_empty() -> bool:
        return await left() == 0

    async with pulling(connection, slots=4) as taker:
        await bus.publish_batch_acked(connection, [(WORK, b"%d" % i) for i in range(4)])
        await until(lambda: len(taker.got) == 4)
        acks = pull.LateAcks(connection, delay=3600)
        acks.put(taker.got[:2])
        acks.put(taker.got[2:3])
        acks.put([])
        assert await left() == 4
        await acks.flush()
        await until(lambda: _is(left, 1))
        soon = pull.LateAcks(connection, delay=0.01)
        soon.put(taker.got[3:])
        await until(is_empty)


async def _is(count: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await count() == wanted


async def test_pulling_goes_on_right_after_the_server_is_back(
    connection: bus.Connection, nats_server: NatsServer
) -> None:
    # The watchdog and the request's own end are minutes away: only the reconnect can do it.
    async with pulling(connection, slots=100, heartbeat=60) as taker:
        await until(lambda: taker.loop.outstanding)
        nats_server.kill()
        await nats_server.start()
        other = await bus.connect(servers.settings_for(nats_server.url), kind="engine", ident="o")
        await bus.publish_acked(other, WORK, b"x")
        await until(lambda: taker.got)
        await other.close()


async def test_a_silent_connection_is_noticed_by_the_watchdog(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headway.pull")
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="agent", ident="a"
        )
        async with pulling(nc, slots=10, heartbeat=0.1) as taker:
            await until(lambda: taker.loop.outstanding)
            proxy.half_open()
            await until(lambda: "no heartbeat" in caplog.text)
            proxy.heal()
            await bus.publish_acked(nc, WORK, b"x")
            await until(lambda: taker.got)
        await nc.close()


async def test_what_the_server_must_know_is_asked_again_over_the_next_connection(
    nats_server: NatsServer,
) -> None:
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="engine", ident="e"
        )
        await nc.subscribe("x.y")
        proxy.blackhole()
        known = asyncio.create_task(settled(nc))
        await never(known.done, 0.3)
        proxy.reset()
        proxy.heal()
        await known
        assert nc.is_connected
        await nc.close()
        with pytest.raises(ConnectionClosedError):
            await settled(nc)


async def test_a_deleted_consumer_is_repaired(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    durable = await streams.ensure_work_consumer(connection, "default", "q")
    got: list[Msg] = []

    async def repair() -> None:
        await streams.ensure_work_consumer(connection, "default", "q")

    loop = pull.PullLoop(
        connection, "WORK", durable, want=lambda: 5, deliver=got.extend, repair=repair
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await until(lambda: loop.outstanding)
        await bus.jsapi(connection, f"CONSUMER.DELETE.WORK.{durable}")
        await bus.publish_acked(connection, WORK, b"x")
        await until(lambda: got)
        loop.stop()


async def test_a_refused_permission_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    users = 'authorization { users: [ { user: a, password: b, permissions: { publish: "ok" } } ] }'
    async with servers.running_nats(servers.NatsConfig(extra=users)) as server:
        settings = Settings(nats_url=server.url.replace("//", "//a:b@"))
        nc = await bus.connect(settings, kind="client", ident="t")
        await nc.publish("hw.run.default.x", b"forged")
        await until(lambda: "permissions violation" in caplog.text.lower())
        assert "a:b" not in caplog.text
        await nc.close()


async def test_wrong_credentials_are_said_by_their_name_and_without_the_password() -> None:
    users = "authorization { users: [ { user: a, password: b } ] }"
    async with servers.running_nats(servers.NatsConfig(extra=users)) as server:
        settings = Settings(nats_url=server.url.replace("//", "//a:guess@"), connect_timeout=1.0)
        with pytest.raises(NotReachable, match=r"does not let us in .*HEADWAY_CREDENTIALS") as e:
            await bus.connect(settings, kind="client", ident="t")
        assert "guess" not in str(e.value)


async def test_a_principal_hears_answers_only_under_its_own_inbox(
    connection: bus.Connection,
) -> None:
    assert connection.new_inbox().startswith("_INBOX.engine.test.")


async def test_many_messages_go_out_in_their_order_and_before_what_comes_after(
    connection: bus.Connection,
) -> None:
    nc = connection
    got: list[bytes] = []

    async def heard(msg: Msg) -> None:
        got.append(msg.data)

    await nc.subscribe("many", cb=heard)
    await nc.publish("many", b"first")
    await nc.publish_many([("many", b"%d\r\n" % i) for i in range(1000)])
    await nc.publish("many", b"last")
    await nc.publish_many([])
    await until(lambda: len(got) == 1002)
    assert got == [b"first", *(b"%d\r\n" % i for i in range(1000)), b"last"]
    with pytest.raises(MaxPayloadError):
        await nc.publish_many([("many", b"x" * (nc.max_payload + 1))])


async def test_many_messages_written_while_away_arrive_after_the_reconnect(
    connection: bus.Connection, nats_server: NatsServer
) -> None:
    got: list[bytes] = []

    async def heard(msg: Msg) -> None:
        got.append(msg.data)

    await connection.subscribe("many", cb=heard)
    await connection.flush()
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        nc = await bus.connect(servers.settings_for(url), kind="agent", ident="a")
        try:
            proxy.blackhole()
            proxy.reset()
            await until(lambda: not nc.is_connected)
            await nc.publish_many([("many", b"%d" % i) for i in range(10)])
            proxy.heal()
            await until(lambda: len(got) == 10)
            assert got == [b"%d" % i for i in range(10)]
        finally:
            await nc.close()


async def test_who_is_cancelled_as_an_answer_comes_does_not_go_on_asking(
    connection: bus.Connection,
) -> None:
    asked = 0

    def cancel(_: object) -> None:
        asking.cancel()

    async def answer(msg: Msg) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            (future,) = cast("Any", connection)._asked.values()
            future.add_done_callback(cancel)
        await connection.publish(msg.reply, b"yes")

    async def ask() -> None:
        while True:
            await connection.request("who", b"", timeout=5)

    await connection.subscribe("who", cb=answer)
    asking = asyncio.create_task(ask())
    async with asyncio.timeout(5):
        await asyncio.wait([asking])
    assert asking.cancelled()
