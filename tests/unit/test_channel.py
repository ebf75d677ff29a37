"""Frames cut at every byte; connections over unix, TCP and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.channel import (
    Conn,
    FrameError,
    Frames,
    accept,
    dial,
    framed,
    listen,
    parse_address,
)
from headway.wire import FRAME_LIMIT, Malformed
from headway.wire.frames import FROM_RUNNER, TO_RUNNER, Ack, Part, Ping, Pong, RunStarted

if TYPE_CHECKING:
    from pathlib import Path


async def pair(
    address: str, server: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None
) -> tuple[Conn, Conn, socket.socket]:
    """Agent's end, runner's end, listener."""
    listener = listen(address)
    if address.startswith("tcp"):
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    agent, runner = await asyncio.gather(
        accept(listener, FROM_RUNNER, server), dial(address, TO_RUNNER, client)
    )
    return agent, runner, listener


def test_frames_are_the_same_however_the_bytes_are_cut() -> None:
    bodies = [b"", b"a", b"x" * 300, b'{"k":1}']
    stream = b"".join(map(framed, bodies))
    for cut in range(len(stream) + 1):
        frames = Frames()
        assert frames.feed(stream[:cut]) + frames.feed(stream[cut:]) == bodies
        assert not frames.held


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 7))
def test_frames_come_in_order_from_any_chunks(bodies: list[bytes], size: int) -> None:
    stream = b"".join(map(framed, bodies))
    frames = Frames()
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
    assert [b for c in chunks for b in frames.feed(c)] == bodies


def test_an_oversized_length_is_refused_before_its_body_comes() -> None:
    frames = Frames(limit=10)
    assert frames.feed(framed(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(FrameError):
        frames.feed((11).to_bytes(4, "big"))
    with pytest.raises(FrameError):
        framed(b"x" * (FRAME_LIMIT + 1))


@pytest.mark.parametrize("bad", ["", "unix:", "tcp:host", "tcp::1", "http://x", "tcp:h:port"])
def test_a_bad_address_says_what_one_looks_like(bad: str) -> None:
    with pytest.raises(ValueError, match="unix:/path or tcp:host:port"):
        parse_address(bad)


def test_addresses() -> None:
    assert parse_address("unix:/a/b:c.sock") == ("unix", "/a/b:c.sock", 0)
    assert parse_address("tcp:[::1]:80") == ("tcp", "::1", 80)


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key, cert = folder / "k.pem", folder / "c.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=agent",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            cert,
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=cert.read_text())
    return server, client


@pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])
async def test_both_ways_in_order_with_large_frames(kind: str, tmp_path: Path) -> None:
    server, client = contexts(tmp_path) if kind == "tls" else (None, None)
    address = f"unix:{tmp_path}/s" if kind == "unix" else "tcp:127.0.0.1:0"
    agent, runner, listener = await pair(address, server, client)
    big = Part(blob=1, index=0, data=b"z" * 500_000)
    for n in range(20):
        runner.send(RunStarted(slot=n))
        runner.send(big)
        agent.send(Ack(slot=n, seq=n))
    got: list[object] = []
    async for frame in agent:
        got.append(frame)
        if len(got) == 40:
            break
    assert got == [x for n in range(20) for x in (RunStarted(slot=n), big)]
    back = await runner.receive()
    assert back == [Ack(slot=n, seq=n) for n in range(20)]
    runner.close()
    assert await agent.receive() == []
    agent.close()
    listener.close()


async def test_a_certificate_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    server, _ = contexts(tmp_path / "a")
    _, client = contexts(tmp_path / "b")
    listener = listen("tcp:127.0.0.1:0")
    address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    accepting = asyncio.create_task(accept(listener, FROM_RUNNER, server))
    with pytest.raises(ssl.SSLError):
        await dial(address, TO_RUNNER, client)
    with contextlib.suppress(OSError):
        await accepting
    listener.close()


async def test_what_is_sent_in_one_tick_is_read_together(tmp_path: Path) -> None:
    agent, runner, listener = await pair(f"unix:{tmp_path}/s")
    for n in range(100):
        runner.send(RunStarted(slot=n))
    assert len(await agent.receive()) == 100
    for end in (agent, runner, listener):
        end.close()


async def test_a_violation_ends_the_connection_after_the_good_frames(tmp_path: Path) -> None:
    for bad, error in (
        (b"\xff\xff\xff\xff", FrameError),
        (framed(b'{"type":"nope"}'), Malformed),
        (framed(b'{"type":"started","slot":1,"run":"foreign"}'), Malformed),
        (framed(b"[" * 5000), Malformed),
    ):
        listener = listen(f"unix:{tmp_path}/s")
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(f"{tmp_path}/s")
        agent = await accept(listener, FROM_RUNNER)
        raw.sendall(framed(msgspec.json.encode(RunStarted(slot=1))) + bad)
        got = await agent.receive() if error is Malformed else []
        with pytest.raises(error):
            await agent.receive()
        assert got == ([] if error is FrameError else [RunStarted(slot=1)])
        assert agent.closed
        raw.close()
        listener.close()


async def test_drain_waits_for_a_slow_reader(tmp_path: Path) -> None:
    agent, runner, listener = await pair(f"unix:{tmp_path}/s")
    for _ in range(50):
        runner.send(Part(blob=1, index=0, data=b"z" * 100_000))
    draining = asyncio.create_task(runner.drain())
    count = 0
    while count < 50:
        count += len(await agent.receive())
    await draining
    assert runner.unsent < 1024 * 1024
    for end in (agent, runner, listener):
        end.close()


async def test_a_thread_answers_while_the_loop_is_blocked(tmp_path: Path) -> None:
    agent, runner, listener = await pair(f"unix:{tmp_path}/s")
    agent.send_from_thread(Ping())  # leaves at once: the loop gets no chance to read it first
    agent.send_from_thread(Ack(slot=1, seq=1))

    def answer(frame: object) -> bool:
        if isinstance(frame, Ping):
            runner.send_from_thread(Pong(lag_ms=1))
            return True
        return False

    thread = threading.Thread(target=lambda: runner.serve_from_thread(answer))
    thread.start()
    thread.join()  # the loop is blocked here
    assert await agent.receive() == [Pong(lag_ms=1)]
    assert await runner.receive() == [Ack(slot=1, seq=1)]
    for end in (agent, runner, listener):
        end.close()


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        agent, runner, listener = await pair(f"unix:{tmp_path}/s")
        for end in (agent, runner, listener):
            end.close()
