"""One suite for both kinds of channel endpoint: who may speak, one at a time, and what it costs."""

# ruff: noqa: ASYNC240 - files of the test's own folder
from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway.channel import framed
from headway.wire import FRAME_LIMIT, PROTOCOL, encode
from headway.wire.frames import Finish, Hello, Log, Ping, Pong, Ready
from headway_engine.agent.certificate import NoCertificate, own_certificate
from headway_engine.agent.conns import Conn, Endpoint, Endpoints, Rates
from headway_engine.agent.sockets import BadEndpoint, TcpEndpoints, UnixEndpoints
from headway_engine.runtime import Way
from support.fakelink import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headway_engine.runtime import Grant


class Listener:
    """A peer that writes everything down."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.frames: list[Any] = []
        self.closes = 0
        self.violations: list[str] = []
        self.conn: Conn | None = None

    def opened(self, conn: Conn, hello: Hello) -> None:
        """Dialled."""
        self.conn = conn
        self.hellos.append(hello)

    def arrived(self, frames: list[Any]) -> None:
        """Frames."""
        self.frames += frames

    def closed(self) -> None:
        """EOF."""
        self.closes += 1

    def violated(self, why: str) -> None:
        """Cut off."""
        self.violations.append(why)


class Dialler:
    """The other end, as raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *frames: Any) -> None:
        """Write frames."""
        self.writer.write(b"".join(framed(encode(f)) for f in frames))

    async def cut_off(self) -> bool:
        """True when the agent has closed the connection."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), 5):
                pass
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


class Bench:
    """One kind of endpoints, and the connections that a test made."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.made: list[Dialler] = []

    async def dial(self, endpoint: Endpoint) -> Dialler:
        """Connect as a runner does."""
        grant = endpoint.grant
        if grant.address:
            host, _, port = grant.address.rpartition(":")
            streams = await asyncio.open_connection(host, int(port), ssl=pinned(grant))
        else:
            streams = await asyncio.open_unix_connection(f"{grant.directory}/s.sock")
        self.made.append(Dialler(*streams))
        return self.made[-1]

    async def greeted(self, endpoint: Endpoint, listener: Listener) -> Dialler:
        """Connect and be accepted."""
        before = len(listener.hellos)
        dialler = await self.dial(endpoint)
        dialler.send(hello(endpoint))
        await until(lambda: len(listener.hellos) > before)
        return dialler


def pinned(grant: Grant) -> ssl.SSLContext | None:
    """What a runner trusts."""
    if not grant.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=grant.certificate)
    return context


def hello(endpoint: Endpoint, **changes: Any) -> Hello:
    usual = Hello(PROTOCOL, "0", "3", 1, endpoint.grant.token)
    return msgspec.structs.replace(usual, **changes)


@pytest.fixture(params=["unix", "tcp", "tls"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        endpoints: Endpoints = UnixEndpoints(Path(folder) / "ch")
        if request.param != "unix":
            tls = own_certificate(Path(folder)) if request.param == "tls" else None
            endpoints = TcpEndpoints(tls=tls)
        await endpoints.start()
        bench = Bench(endpoints)
        yield bench
        for dialler in bench.made:
            dialler.close()
        await endpoints.close()
        await asyncio.sleep(0)


async def test_frames_after_hello_arrive_in_order_and_answers_go_back(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.dial(endpoint)
    dialler.send(hello(endpoint), Ready(("t",)), Pong(1.0))
    await until(lambda: len(listener.frames) == 2)
    assert [type(f) for f in listener.frames] == [Ready, Pong]
    assert listener.conn is not None
    listener.conn.send(Ping())
    assert await asyncio.wait_for(dialler.reader.readexactly(4), 5)


async def test_frames_may_arrive_byte_by_byte(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.greeted(endpoint, listener)
    for byte in framed(encode(Pong(2.5))):
        dialler.writer.write(bytes([byte]))
        await dialler.writer.drain()
        await asyncio.sleep(0)
    await until(lambda: listener.frames)
    assert listener.frames == [Pong(2.5)]


async def test_a_second_connection_is_refused_until_the_first_ends(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    first = await bench.greeted(endpoint, listener)
    second = await bench.dial(endpoint)
    second.send(hello(endpoint))
    assert await second.cut_off()
    assert len(listener.hellos) == 1
    first.close()
    await until(lambda: listener.closes == 1)
    await bench.greeted(endpoint, listener)
    assert len(listener.hellos) == 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(framed(b'{"type":"nonsense"}'), id="unknown kind"),
        pytest.param(framed(b'{"type":"pong","extra":1}'), id="unknown field"),
        pytest.param(framed(b"\xff\xfe"), id="not text"),
        pytest.param(framed(b"[" * 100_000), id="nested"),
        pytest.param((FRAME_LIMIT + 1).to_bytes(4, "big"), id="too long"),
        pytest.param(framed(encode(Hello(1, "0", "3", 1))), id="second hello"),
    ],
)
async def test_whoever_breaks_the_rules_is_cut_off_for_good(bench: Bench, data: bytes):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.greeted(endpoint, listener)
    dialler.writer.write(data)
    assert await dialler.cut_off()
    assert len(listener.violations) == 1
    again = await bench.dial(endpoint)
    again.send(hello(endpoint))
    assert await again.cut_off()
    assert len(listener.hellos) == 1


async def test_frames_before_a_bad_one_still_count(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.greeted(endpoint, listener)
    dialler.writer.write(framed(encode(Finish(1, 1))) + framed(b"{}"))
    await until(lambda: listener.violations)
    assert [type(f) for f in listener.frames] == [Finish]


async def test_first_frame_must_be_hello(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.dial(endpoint)
    dialler.send(Pong())
    assert await dialler.cut_off()
    assert listener.hellos == []
    assert listener.frames == []


async def test_an_unknown_protocol_is_refused(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.dial(endpoint)
    dialler.send(hello(endpoint, protocol=PROTOCOL + 1))
    assert await dialler.cut_off()
    assert listener.hellos == []


async def test_a_closed_endpoint_takes_nobody(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    first = await bench.greeted(endpoint, listener)
    await endpoint.close()
    assert await first.cut_off()
    assert listener.closes == 0
    with pytest.raises((FileNotFoundError, AssertionError, ConnectionError)):  # noqa: PT012 - either
        dialler = await bench.dial(endpoint)
        dialler.send(hello(endpoint))
        assert not await dialler.cut_off()


async def test_a_living_runner_can_be_bound_again_by_another_agent(bench: Bench):
    listener, later = Listener(), Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    grant = endpoint.grant
    await bench.greeted(endpoint, listener)
    await bench.endpoints.close()
    await bench.endpoints.start()
    again = await bench.endpoints.listen("a", later, grant=grant)
    if grant.directory:
        assert again.grant == grant
    else:
        assert again.grant.token == grant.token
    await bench.greeted(again, later)


async def test_a_flood_is_slowed_and_then_cut_off():
    rates = Rates(strikes=3)
    assert rates.count(0.0, rates.frames, 0, 0) == 0
    assert rates.count(0.1, 1, 0, 0) == pytest.approx(0.9)
    assert rates.count(1.1, 1, 0, 0) == 0
    assert [rates.count(float(t), 0, rates.logs + 1, 0) for t in (3, 4, 5)] == [1.0, 1.0, -1.0]


async def test_requests_over_the_rate_are_slowed_for_ever_and_never_punished():
    rates = Rates(strikes=3)
    for second in range(1, 20):
        assert rates.count(float(second), rates.frames, 0, 0) == 0
        assert rates.count(second + 0.5, 1, 0, 0) == pytest.approx(0.5)


async def test_a_flooding_runner_is_cut_off(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    endpoint.rates.logs, endpoint.rates.strikes = 1, 1
    dialler = await bench.greeted(endpoint, listener)
    dialler.send(*[Log(1, i, ["x"]) for i in range(3)])
    assert await dialler.cut_off()
    assert listener.violations == ["it sends more than its channel allows"]


async def test_a_wrong_token_is_nobody_and_does_not_disturb():
    endpoints = TcpEndpoints()
    await endpoints.start()
    bench, listener = Bench(endpoints), Listener()
    endpoint = await endpoints.listen("a", listener)
    stranger = await bench.dial(endpoint)
    stranger.send(hello(endpoint, token="x" * 43))
    assert await stranger.cut_off()
    assert (listener.hellos, listener.violations) == ([], [])
    await bench.greeted(endpoint, listener)
    for dialler in bench.made:
        dialler.close()
    await endpoints.close()
    await asyncio.sleep(0)


async def test_off_loopback_nothing_travels_in_the_clear(tmp_path: Path):
    for way in (Way("0.0.0.0", "127.0.0.1"), Way("127.0.0.1", "host.example")):
        with pytest.raises(BadEndpoint, match="TLS"):
            await TcpEndpoints(way).start()
    endpoints = TcpEndpoints(Way("0.0.0.0", "127.0.0.1"), tls=own_certificate(tmp_path))
    await endpoints.start()
    listener = Listener()
    endpoint = await endpoints.listen("a", listener)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoints.port)
    writer.write(framed(encode(hello(endpoint))))
    assert await Dialler(reader, writer).cut_off()
    writer.close()
    assert listener.hellos == [], "a token without TLS is nobody's"
    await endpoints.close()


async def test_a_long_hello_may_come_in_pieces(bench: Bench):
    listener = Listener()
    endpoint = await bench.endpoints.listen("a", listener)
    dialler = await bench.dial(endpoint)
    slots = [(n, "r" * 26, 1) for n in range(1000)]
    data = framed(encode(hello(endpoint, slots=slots)))
    for at in range(0, len(data), 10_000):
        dialler.writer.write(data[at : at + 10_000])
        await dialler.writer.drain()
        await asyncio.sleep(0)
    await until(lambda: listener.hellos)
    assert listener.hellos[0].slots == slots


async def test_a_certificate_is_made_once_and_is_for_the_agent_alone(tmp_path: Path):
    first = own_certificate(tmp_path)
    path = tmp_path / "channel.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_certificate(tmp_path).pem == first.pem
    assert "PRIVATE" not in first.pem
    path.write_text("nonsense")
    with pytest.raises(NoCertificate, match="remove the file"):
        own_certificate(tmp_path)


async def test_socket_folder_is_passable_and_not_listable():
    with tempfile.TemporaryDirectory(prefix="hw") as folder:
        endpoints = UnixEndpoints(Path(folder) / "ch")
        await endpoints.start()
        endpoint = await endpoints.listen("a", Listener())
        directory = Path(endpoint.grant.directory)
        assert directory.stat().st_mode & 0o777 == 0o711
        assert (directory / "s.sock").stat().st_mode & 0o777 == 0o666
        await endpoint.close()
        assert not directory.exists()
        with pytest.raises(BadEndpoint):
            await UnixEndpoints(Path(folder) / ("x" * 90)).start()
        await endpoints.close()
