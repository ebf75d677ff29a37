"""Can a container reach the agent's sockets? One is started to find out (DECISIONS I2).

Bind mounts of sockets do not cross everywhere: a Docker engine in a virtual machine or on another
host, an agent that itself runs in a container, a label of SELinux. All look the same from outside,
so nothing is guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from headway_engine.runtime import (
    CannotStart,
    Grant,
    ImageMissing,
    Limits,
    RunnerSpec,
    RuntimeUnavailable,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headway_engine.runtime import Runtime

TIMEOUT = 20.0
MEMORY = 64 * 1024 * 1024
DIAL = (
    "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/hw/s.sock');"
    " s.sendall(b'here'); s.recv(1)"
)


async def reach(runtime: Runtime, folder: Path, image: str, *, within: float = TIMEOUT) -> str:
    """Empty if a runner of this image reaches a socket under the folder, else why not.

    Everything that it makes is removed again; a crash leaves a container that its label names.
    """
    name = f"probe-{secrets.token_hex(4)}"
    place = folder / name
    place.mkdir(mode=0o711)
    reached = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if await reader.read(4) == b"here":
                reached.set()
        writer.close()

    server = await asyncio.start_unix_server(greet, str(place / "s.sock"))
    (place / "s.sock").chmod(0o666)
    try:
        return await _ask(runtime, name, place, image, reached, within)
    finally:
        server.close()
        (place / "s.sock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()


async def _ask(
    runtime: Runtime, name: str, place: Path, image: str, reached: asyncio.Event, within: float
) -> str:
    spec = RunnerSpec(
        name, f"probe-{name}", Grant(directory=str(place)), image=image,
        limits=Limits(MEMORY), command=("-c", DIAL),
    )  # fmt: skip
    try:
        handle = await runtime.spawn(spec)
    except ImageMissing:
        return ""  # removed in this moment: nothing is known
    except (CannotStart, RuntimeUnavailable) as e:
        if "executable file not found" in str(e):
            return ""  # the image's fault, and no word on sockets
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
        return f"a probe container could not connect to {place.parent}: {last}"[:300]
    finally:
        await runtime.remove(handle)
