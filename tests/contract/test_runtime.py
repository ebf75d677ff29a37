"""One suite for every runtime that the machine has: life, limits, ends, adoption of a runner."""

# ruff: noqa: ASYNC240 - small files of this machine
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from headway_engine.runtime import (
    CannotStart,
    Exited,
    Grant,
    Handle,
    ImageMissing,
    Limits,
    RunnerSpec,
    Runtime,
    RuntimeEvent,
    State,
)
from headway_engine.runtime.container import config_of
from headway_engine.runtime.docker import DockerRuntime
from headway_engine.runtime.process import ProcessRuntime
from support.docker import base_image, require_docker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")

MIB = 1024 * 1024


class Bench:
    """One runtime under test, with a folder of programs that it can start."""

    def __init__(self, runtime: Runtime, folder: Path, again: Callable[[], Runtime]) -> None:
        self.runtime, self.folder, self.again = runtime, folder, again
        self.owner = f"test-{os.getpid()}-{folder.name[-8:].lower()}"
        self.handles: list[Handle] = []

    def spec(self, code: str, name: str = "a", limits: Limits | None = None) -> RunnerSpec:
        """A runner that executes this program."""
        (self.folder / "src").mkdir(exist_ok=True)
        channel = self.folder / f"ch-{name}"
        channel.mkdir(exist_ok=True)
        (self.folder / "src" / f"{name}.py").write_text(code, encoding="utf-8")
        at = self.runtime.caps.source_at or str(self.folder / "src")
        return RunnerSpec(
            name=f"{self.owner}-{name}",
            owner=self.owner,
            grant=Grant(directory=str(channel)),
            key="k1",
            source=str(self.folder / "src"),
            command=(f"{at}/{name}.py",),
            limits=limits or Limits(memory=256 * MIB),
            created_ms=7,
        )

    async def spawn(self, code: str, name: str = "a", limits: Limits | None = None) -> Handle:
        """Start this program."""
        handle = await self.runtime.spawn(self.spec(code, name, limits))
        self.handles.append(handle)
        return handle

    async def ended(self, handle: Handle) -> State:
        """Its state when it has ended."""
        return await until(lambda: self._ended(handle))

    async def _ended(self, handle: Handle) -> State | None:
        state = await self.runtime.inspect(handle)
        return None if state.running else state

    async def tail_has(self, handle: Handle, text: str) -> str:
        """What it wrote, once it holds the text."""

        async def look() -> str | None:
            tail = await self.runtime.tail(handle)
            return tail if text in tail else None

        return await until(look)


async def until(look: Callable[[], Awaitable[T | None]], seconds: float = 20) -> T:
    end = time.monotonic() + seconds
    while (found := await look()) is None:
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.01)
    return found


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="hw") as text:
        folder = Path(text)
        folder.chmod(0o755)
        if request.param == "docker":
            require_docker()
            image = base_image()

            def make() -> Runtime:
                return DockerRuntime(base_image=image)
        else:

            def make() -> Runtime:
                return ProcessRuntime(folder)

        bench = Bench(make(), folder, make)
        yield bench
        for handle in bench.handles:
            await bench.runtime.remove(handle)
        await bench.runtime.close()


FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


async def test_check_says_nothing_when_it_can_start_runners(bench: Bench):
    assert await bench.runtime.check() == ""


async def test_exit_code_of_a_program_is_kept(bench: Bench):
    state = await bench.ended(await bench.spawn("raise SystemExit(3)"))
    assert (state.exit_code, state.signal, state.oom) == (3, None, False)


async def test_segfault_shows_as_signal_with_the_faulthandler_text(bench: Bench):
    handle = await bench.spawn("import ctypes\nctypes.string_at(0)\n")
    state = await bench.ended(handle)
    assert (state.exit_code, state.signal) == (139, signal.SIGSEGV)
    assert "Segmentation fault" in await bench.tail_has(handle, "Segmentation")


async def test_runner_sees_its_channel_and_no_environment_of_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "hidden-value")
    handle = await bench.spawn(
        "import os\nprint(sorted(os.environ.items()))\n"
        "path = os.environ['HEADWAY_CHANNEL'].removeprefix('unix:')\n"
        "print('dir', os.path.isdir(os.path.dirname(path)))\n"
    )
    await bench.ended(handle)
    text = await bench.tail_has(handle, "dir")
    assert "dir True" in text
    assert "hidden-value" not in text


async def test_term_can_be_handled_and_kill_cannot(bench: Bench):
    handle = await bench.spawn(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(9))\n"
        "print('up', flush=True)\ntime.sleep(600)\n"
    )
    await bench.tail_has(handle, "up")
    assert await bench.runtime.signal(handle, signal.SIGTERM)
    assert (await bench.ended(handle)).exit_code == 9
    assert not await bench.runtime.signal(handle, signal.SIGKILL)
    other = await bench.spawn(FOREVER, "b")
    await bench.tail_has(other, "up")
    assert await bench.runtime.signal(other, signal.SIGKILL)
    assert (await bench.ended(other)).exit_code == 137


async def test_end_is_told_by_an_event(bench: Bench):
    events = bench.runtime.events(bench.owner)
    heard: list[RuntimeEvent] = []
    found = asyncio.Event()

    async def listen() -> None:
        async for event in events:
            heard.append(event)
            found.set()

    task = asyncio.create_task(listen())
    if bench.runtime.caps.name == "docker":
        await asyncio.wait_for(found.wait(), 10)  # the stream is open
    await asyncio.sleep(0)
    handle = await bench.spawn("raise SystemExit(4)")
    expected = Exited(handle.name, 4)
    while expected not in heard:
        found.clear()
        await asyncio.wait_for(found.wait(), 20)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_memory_over_the_limit_is_reported_as_oom(bench: Bench):
    if bench.runtime.caps.oom_signal != "exact":
        pytest.skip("this runtime cannot tell")
    code = "x = []\nwhile True: x.append(bytearray(b'x') * 4_000_000)\n"
    state = await bench.ended(await bench.spawn(code, limits=Limits(memory=64 * MIB)))
    assert state.oom
    assert state.exit_code == 137


async def test_process_limit_stops_forks_and_not_the_host(bench: Bench):
    if not bench.runtime.caps.pids_limit:
        pytest.skip("this runtime has none")
    code = (
        "import os, time\nn = 0\ntry:\n    while n < 200:\n"
        "        if os.fork() == 0: time.sleep(600)\n        n += 1\n"
        "except OSError as e:\n    print('stopped', type(e).__name__, flush=True)\n"
        "print('children', n, flush=True)\n"
    )
    handle = await bench.spawn(code, limits=Limits(memory=256 * MIB, pids=32))
    text = await bench.tail_has(handle, "children")
    assert "stopped BlockingIOError" in text
    assert (await bench.ended(handle)).exit_code == 0


async def test_what_the_program_left_behind_ends_with_it(bench: Bench):
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "                     start_new_session=True)\n"
        "print('child', p.pid, flush=True)\n"
    )
    handle = await bench.spawn(code)
    await bench.ended(handle)
    if bench.runtime.caps.name == "process":
        if not bench.runtime.caps.pids_limit:
            pytest.skip("without control groups a child can leave")
        pid = int((await bench.tail_has(handle, "child")).split()[1])

        async def gone() -> bool | None:
            try:
                text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            except FileNotFoundError:
                return True
            return True if text.rpartition(")")[2].split()[0] == "Z" else None

        assert await until(gone)


async def test_list_finds_own_runners_only_until_they_are_removed(bench: Bench):
    running = await bench.spawn(FOREVER)
    ended = await bench.spawn("pass", "b")
    await bench.ended(ended)
    found = {h.name: h for h in await bench.runtime.list_all(bench.owner)}
    assert found == {running.name: running, ended.name: ended}
    assert found[running.name].key == "k1"
    assert await bench.runtime.list_all("somebody-else") == []
    await bench.runtime.remove(running)
    await bench.runtime.remove(ended)
    await bench.runtime.remove(ended)
    assert await bench.runtime.list_all(bench.owner) == []
    assert not (await bench.runtime.inspect(running)).known


async def test_a_new_runtime_finds_and_ends_what_an_earlier_one_started(bench: Bench):
    running = await bench.spawn(FOREVER)
    await bench.tail_has(running, "up")
    await bench.runtime.close()
    bench.runtime = bench.again()
    assert await bench.runtime.list_all(bench.owner) == [running]
    assert (await bench.runtime.inspect(running)).running
    assert await bench.runtime.signal(running, signal.SIGKILL)
    state = await bench.ended(running)
    if bench.runtime.caps.exit_code_after_adoption:
        assert state.exit_code == 137


async def test_a_missing_image_is_an_error_and_never_a_pull(bench: Bench):
    if bench.runtime.caps.name == "process":
        pytest.skip("no images")
    with pytest.raises(ImageMissing):
        await bench.runtime.ensure_image("headway-no-such-image:1")
    spec = bench.spec("pass")
    with pytest.raises(ImageMissing):
        await bench.runtime.spawn(
            RunnerSpec(
                name=spec.name, owner=spec.owner, grant=spec.grant, image="sha256:" + "0" * 64
            )
        )
    assert await bench.runtime.list_all(bench.owner) == []


async def test_a_command_that_cannot_start_leaves_nothing_behind(bench: Bench):
    if bench.runtime.caps.name == "process":
        broken = ProcessRuntime(bench.folder, python="/no/such/python")
    else:
        pytest.skip("the command is fixed to the image's python3")
    with pytest.raises(CannotStart):
        await broken.spawn(bench.spec("pass"))
    assert await broken.list_all(bench.owner) == []
    assert await broken.check() != ""


@pytest.mark.docker
async def test_container_is_hardened(bench: Bench):
    if bench.runtime.caps.name != "docker":
        pytest.skip("a container's profile")
    code = (
        "import os, socket\n"
        "s = dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)\n"
        "print('uid', os.getuid(), 'caps', s['CapEff'].strip(), 'nnp', s['NoNewPrivs'].strip(),\n"
        "      'seccomp', s['Seccomp'].strip())\n"
        "try:\n    open('/x', 'w')\nexcept OSError as e:\n    print('root', e.strerror)\n"
        "open('/tmp/x', 'w').write('y')\n"
        "print('nets', sorted(os.listdir('/sys/class/net')))\n"
        "print('env', 'hw-token' in open('/proc/1/environ').read())\n"
        "print('end')\n"
    )
    handle = await bench.spawn(code)
    text = await bench.tail_has(handle, "end")
    assert "uid 1000 caps 0000000000000000 nnp 1 seccomp 2" in text
    assert "root Read-only file system" in text
    assert "nets ['lo']" in text


def test_container_settings_hold_no_more_than_the_profile_allows():
    spec = RunnerSpec(name="n", owner="o", grant=Grant(directory="/d/n"))
    body = config_of(spec, "sha256:1", "none", "/d/n")
    host = body["HostConfig"]
    assert host["Binds"] == ["/d/n:/run/hw:ro"]
    assert host["MemorySwap"] == host["Memory"]
    assert "Privileged" not in host
    assert "AutoRemove" not in host
    assert not any("docker.sock" in b for b in host["Binds"])
