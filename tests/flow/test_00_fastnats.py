"""The shorter ways through nats-py: heard at once, written in order, one future per request."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from nats import errors as nats_errors

from headway import bus, pull
from headway_engine import streams
from headway_engine.rescuer import reached
from support import servers
from support.guarded import guarded
from support.proxy import Proxy
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from headway_ops.local.nats import NatsServer


async def test_what_is_published_now_keeps_its_place(connection: bus.Connection) -> None:
    got: list[bytes] = []
    await connection.listen("many", lambda msg: got.append(msg.data))
    await connection.publish("many", b"first")
    assert connection.publish_now([("many", b"%d" % i) for i in range(20)])
    await connection.publish_many([("many", b"x"), ("many", b"y")])
    assert connection.publish_now([("many", b"last")])
    await until(lambda: len(got) == 24)
    assert got == [b"first", *(b"%d" % i for i in range(20)), b"x", b"y", b"last"]


async def test_what_cannot_go_at_once_is_left_to_the_caller(
    connection: bus.Connection, nats_server: NatsServer
) -> None:
    got: list[bytes] = []
    await connection.listen("many", lambda msg: got.append(msg.data))
    await connection.flush()
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="engine", ident="a"
        )
        try:
            assert not nc.publish_now([("many", b"x" * (nc.max_payload + 1))])
            proxy.blackhole()
            proxy.reset()
            await until(lambda: not nc.is_connected)
            assert not nc.publish_now([("many", b"lost")])
            proxy.heal()
            await until(lambda: nc.is_connected)
            assert nc.publish_now([("many", b"kept")])
            await until(lambda: got)
            assert got == [b"kept"]
        finally:
            await nc.close()


async def test_a_ping_that_is_answered_too_late_does_not_break_the_connection(
    nats_server: NatsServer,
) -> None:
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="engine", ident="a"
        )
        back: list[int] = []
        nc.when_back(lambda: back.append(1))
        try:
            proxy.half_open()
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await nc.flush()
            proxy.heal()
            await nc.flush()
            assert not back
        finally:
            await nc.close()


async def test_a_ping_on_a_connection_that_has_just_broken_is_an_error_of_the_link(
    connection: bus.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: object, __: bytes) -> None:
        # What uvloop says; nats-py would pass it on, and end its own pinger by it.
        raise RuntimeError("unable to perform operation: the handler is closed")

    broken: Any = connection
    with monkeypatch.context() as patch:
        kind: Any = broken._transport.__class__
        patch.setattr(kind, "write", write)
        with pytest.raises(ConnectionResetError):
            await connection.flush()
        assert not await reached(connection)
    assert await reached(connection)


async def test_what_is_published_on_a_connection_that_has_just_broken_is_kept_for_the_next(
    connection: bus.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def writelines(_: object, __: list[bytes]) -> None:
        raise RuntimeError("unable to perform operation: the handler is closed")

    got: list[bytes] = []
    await connection.listen("told", lambda msg: got.append(msg.data))
    await connection.flush()
    broken: Any = connection
    # Its flusher has ended, by the same; nats-py then writes in the name of whoever publishes.
    broken._flusher_task.cancel()
    await asyncio.wait([broken._flusher_task])
    with monkeypatch.context() as patch:
        patch.setattr(broken._transport.__class__, "writelines", writelines)
        await connection.publish("told", b"1")
    await connection.publish("told", b"2")
    await until(lambda: len(got) == 2)
    assert got == [b"1", b"2"]


class Mute:
    """Says what a nats-server with TLS says first, and nothing any more."""

    def __init__(self) -> None:
        self.hello = asyncio.Event()
        """The client has begun its handshake."""

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        writer.write(b'INFO {"server_id":"mute","tls_required":true,"max_payload":1048576}\r\n')
        if await reader.read(100):
            self.hello.set()
        await reader.read()
        writer.close()


async def test_who_ends_in_the_middle_of_a_tls_handshake_is_not_held_up() -> None:
    mute = Mute()
    with servers.open_folder("tls") as folder:
        async with (
            guarded(folder) as server,
            Proxy(server.port) as proxy,
            await asyncio.start_server(mute.meet, "127.0.0.1", 0) as other,
        ):
            settings = replace(
                server.settings("app"), nats_url=f"tls://127.0.0.1:{proxy.port}", connect_timeout=60
            )
            nc = await bus.connect(settings, kind="client", ident="app")
            proxy.target_port = other.sockets[0].getsockname()[1]
            proxy.reset()
            await mute.hello.wait()
            async with asyncio.timeout(10):
                await nc.close()
            assert nc.is_closed
            proxy.reset()


async def test_what_the_server_still_said_before_it_closed_does_not_end_the_connection(
    connection: bus.Connection,
) -> None:
    back: list[int] = []
    connection.when_back(lambda: back.append(1))
    parser: Any = connection._ps  # pyright: ignore[reportPrivateUsage]
    for said in (b"'User Authentication Expired'", b"'Authorization Violation'"):
        await parser.parse(b"-ERR " + said + b"\r\n")
    await until(lambda: back)
    assert await reached(connection)


async def test_an_attempt_that_fails_after_its_handshake_is_followed_by_another(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link breaks again while the subscriptions are told: twice, in two ways."""
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="engine", ident="a"
        )
        got: list[bytes] = []
        await nc.listen("told", lambda msg: got.append(msg.data))
        back: list[int] = []
        nc.when_back(lambda: back.append(1))
        troubles = [RuntimeError("the handler is closed"), ConnectionResetError("gone")]
        kind: Any = nc
        whole = kind._flush_pending

        async def flush(force_flush: bool = False) -> Any:
            if troubles and nc.is_connected and proxy.connections > 1:
                raise troubles.pop()
            return await whole(force_flush)

        monkeypatch.setattr(nc, "_flush_pending", flush)
        try:
            proxy.reset()
            await until(lambda: not troubles and back)
            await until(lambda: reached(nc))
            await nc.publish("told", b"1")
            await until(lambda: got)
            assert got == [b"1"]
        finally:
            await nc.close()


async def test_a_flood_is_written_whole_and_in_order(connection: bus.Connection) -> None:
    """More than the socket takes at once: the flusher waits for room, nothing is mixed up."""
    got: list[bytes] = []
    await connection.listen("many", lambda msg: got.append(msg.data[:8]))
    body = bytes(100_000)
    for i in range(200):
        await connection.publish("many", b"%08d" % i + body)
        if i % 20 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(got) == 200)
    assert got == [b"%08d" % i for i in range(200)]


async def test_a_listener_that_fails_fails_alone(
    connection: bus.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[bytes] = []

    def hear(msg: Msg) -> None:
        if msg.data == b"bad":
            raise ValueError("no")
        got.append(msg.data)

    await connection.listen("some", hear)
    for body in (b"one", b"bad", b"two"):
        await connection.publish("some", body)
    await until(lambda: len(got) == 2)
    assert "subject=some" in caplog.text


async def test_a_listener_hears_again_after_a_reconnect(nats_server: NatsServer) -> None:
    async with Proxy(nats_server.port) as proxy:
        nc = await bus.connect(
            servers.settings_for(f"nats://127.0.0.1:{proxy.port}"), kind="engine", ident="a"
        )
        try:
            got: list[bytes] = []
            await nc.listen("some", lambda msg: got.append(msg.data))
            back = asyncio.Event()
            nc.when_back(back.set)
            proxy.reset()
            await back.wait()
            await nc.publish("some", b"again")
            await until(lambda: got)
            assert got == [b"again"]
        finally:
            await nc.close()


async def test_requests_get_their_own_answers_and_leave_nothing_behind(
    connection: bus.Connection,
) -> None:
    nc = connection

    async def answer(msg: Msg) -> None:
        if msg.data != b"silent":
            await msg.respond(b"re:" + msg.data)

    await nc.subscribe("svc", cb=answer)
    answers = await asyncio.gather(*(nc.request("svc", b"%d" % i, timeout=5) for i in range(50)))
    assert [a.data for a in answers] == [b"re:%d" % i for i in range(50)]
    with pytest.raises(nats_errors.TimeoutError):
        await nc.request("svc", b"silent", timeout=0.05)
    with pytest.raises(nats_errors.NoRespondersError):
        await nc.request("nobody", b"x", timeout=5)
    cancelled = asyncio.create_task(nc.request("svc", b"silent", timeout=5))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not nc._asked  # pyright: ignore[reportPrivateUsage]


async def test_a_taker_that_fails_ends_its_pull_loop(connection: bus.Connection) -> None:
    await streams.ensure_streams(connection)
    durable = await streams.ensure_work_consumer(connection, "default", "q")

    def take(batch: list[Msg]) -> None:
        raise ValueError("no room for it")

    loop = pull.PullLoop(connection, "WORK", durable, want=lambda: 1, deliver=take)
    await bus.publish_acked(connection, "hw.work.default.q", b"x")
    with pytest.raises(ValueError, match="no room"):
        await loop.run()
