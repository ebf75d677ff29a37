"""Can a container reach the agent? One is started to find out (DECISIONS I2).

Bind mounts of sockets do not cross everywhere: a Docker engine in a virtual machine or on another
host, an agent that itself runs in a container, a label of SELinux. Nor does every address of a host
let containers in. All look the same from outside, so nothing is guessed where a container can say.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headway_engine.runtime import (
    CannotStart,
    Grant,
    ImageMissing,
    Limits,
    RunnerSpec,
    RuntimeUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headway_engine.runtime import Runtime, Way

    Greet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TIMEOUT = 20.0
MEMORY = 64 * 1024 * 1024
DIAL = (
    "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/hw/s.sock');"
    " s.sendall(b'here'); s.recv(1)"
)
DIAL_TCP = (
    "import socket, sys; token = sys.stdin.readline().strip();"
    " s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5);"
    " s.sendall(token.encode()); s.recv(1)"
)


async def reach(runtime: Runtime, folder: Path, image: str, *, within: float = TIMEOUT) -> str:
    """Empty if a runner of this image reaches a socket under the folder, else why not.

    Everything that it makes is removed again; a crash leaves a container that its label names.
    """
    name = f"probe-{secrets.token_hex(4)}"
    place = folder / name
    place.mkdir(mode=0o711)
    reached = asyncio.Event()
    server = await asyncio.start_unix_server(_greeter(b"here", reached), str(place / "s.sock"))
    (place / "s.sock").chmod(0o666)
    spec = RunnerSpec(
        name, f"probe-{name}", Grant(directory=str(place)), image=image,
        limits=Limits(MEMORY), command=("-c", DIAL),
    )  # fmt: skip
    try:
        return await _ask(runtime, spec, str(folder), reached, within)
    finally:
        server.close()
        (place / "s.sock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()


async def reach_tcp(
    runtime: Runtime, way: Way, port: int, image: str, *, within: float = TIMEOUT
) -> str:
    """Empty if a runner of this image reaches the port in this way, else why not; see `reach`.

    It says a token that came as those of runners do, so that nobody else's connection counts.
    """
    name = f"probe-{secrets.token_hex(4)}"
    token = secrets.token_hex(16)
    reached = asyncio.Event()
    greet = _greeter(token.encode(), reached)
    try:
        server = await _listening(greet, way.bind, port)
    except OSError as e:
        return f"cannot listen on {way.bind}: {e}"
    port = int(server.sockets[0].getsockname()[1])
    spec = RunnerSpec(
        name, f"probe-{name}",
        Grant(address=f"{way.dial}:{port}", token=token, network=way.network), image=image,
        limits=Limits(MEMORY), command=("-c", DIAL_TCP, way.dial, str(port)),
    )  # fmt: skip
    try:
        return await _ask(runtime, spec, f"{way.dial}:{port}", reached, within)
    finally:
        server.close()


async def _listening(greet: Greet, host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(greet, host, port)
    except OSError:
        if not port:
            raise
        # Somebody has the port of the last start; the address is what is asked about.
        return await asyncio.start_server(greet, host, 0)


def _greeter(word: bytes, reached: asyncio.Event) -> Greet:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(word)) == word:
                reached.set()
        writer.close()

    return greet


async def _ask(
    runtime: Runtime, spec: RunnerSpec, where: str, reached: asyncio.Event, within: float
) -> str:
    try:
        handle = await runtime.spawn(spec)
    except ImageMissing:
        return ""  # removed in this moment: nothing is known
    except (CannotStart, RuntimeUnavailable) as e:
        if "executable file not found" in str(e):
            return ""  # the image's fault, and no word on the channel
        return f"the probe container did not start: {e}"
    try:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not reached.is_set():
            state = await runtime.inspect(handle)
            if not state.running or loop.time() > end:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reached.wait()
        if reached.is_set():
            return ""
        text = (await runtime.tail(handle)).strip()
        last = text.rsplit("\n", 1)[-1] if text else f"nothing within {within:g} s"
        return f"a probe container could not connect to {where}: {last}"[:300]
    finally:
        await runtime.remove(handle)


# --- where this host may be reached


def elsewhere(base_url: str, system: str) -> str:
    """Why mounts of this host are not the containers' own, from the engine's address and name."""
    if urlsplit(base_url).scheme not in {"unix", "http+unix", "npipe", ""}:
        return f"the Docker engine is on another host ({base_url})"
    if "Docker Desktop" in system:
        return "Docker Desktop runs containers in a virtual machine"
    return ""


def can_bind(host: str) -> bool:
    """Is this an address of this machine?"""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(target)
    except OSError:
        return False
    return True


def bind_for(host: str) -> str:
    """Where to listen for those who dial this: there, or everywhere if it is not our address."""
    if can_bind(host):
        return host
    return "::" if ":" in host else "0.0.0.0"  # noqa: S104 - behind a token and TLS


def own_address(base_url: str) -> str:
    """The address of this host on its way to the Docker engine, or to the world; empty = none."""
    host = urlsplit(base_url).hostname if base_url.startswith(("tcp:", "http", "ssh:")) else None
    try:
        infos = socket.getaddrinfo(host or "192.0.2.1", 9, type=socket.SOCK_DGRAM)
        family, kind, _, _, target = infos[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)  # UDP: nothing is sent
            found = str(probe.getsockname()[0])
    except OSError:
        return ""
    return "" if found.startswith("127.") or found == "::1" else found
