"""A disk whose power can be cut: ext4 in a file, on a loop device.

`Disk.cut` stops the processes, copies the file and lets them go on: the copy holds what had reached
the disk at that moment and nothing that was still in memory. Mount it and start a server on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
import pytest

from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

T = TypeVar("T")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def _mounted(image: Path) -> Generator[Path]:
    place = Path(tempfile.mkdtemp(prefix="hwd"))
    try:
        _run("mount", "-o", "loop,noatime", str(image), str(place))
        try:
            place.chmod(0o755)
            yield place
        finally:
            # Lazily, if a server that was killed still closes its files.
            try:
                _run("umount", str(place))
            except OSError:
                _run("umount", "-l", str(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _make(image: Path, mib: int) -> None:
    with image.open("wb") as f:
        f.truncate(mib * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(image))


@functools.cache
def _reason() -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux mounts loop devices"
    try:
        with tempfile.TemporaryDirectory(prefix="hwd") as folder:
            _make(Path(folder) / "probe", 8)
            with _mounted(Path(folder) / "probe"):
                return ""
    except OSError as e:
        return f"no loop devices here: {e}"[:200]


def require_loop_devices() -> None:
    """Skip where there are none; with HEADWAY_REQUIRE=powercut fail instead."""
    if reason := _reason():
        if "powercut" in os.environ.get("HEADWAY_REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def small_disk(mib: int) -> Generator[Path]:
    """A file system that is soon full (tmpfs); skips the test where nothing can be mounted."""
    require_loop_devices()
    place = Path(tempfile.mkdtemp(prefix="hwd"))
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place))
        try:
            place.chmod(0o755)
            yield place
        finally:
            _run("umount", "-l", str(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def fill(place: Path) -> Path:
    """A file that takes all the room there is; remove it to make room."""
    file = place / "full"
    with file.open("wb") as f, contextlib.suppress(OSError):
        while True:
            f.write(b"x" * 65536)
            f.flush()
    return file


class Disk:
    """A mounted file system; made by `running_disk`."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image, self.place = image, place

    @asynccontextmanager
    async def cut(self, pid: int, journal: Sequence[T]) -> AsyncGenerator[tuple[Path, list[T]]]:
        """The power is cut for `pid` and its children: the disk as they would find it again.

        Gives the folder of the copy, mounted, and what the journal held when they stopped. They
        themselves go on afterwards, on the original.
        """
        main = psutil.Process(pid)
        family = [main, *main.children(recursive=True)]
        copy = self.image.with_suffix(".cut")
        for process in family:
            process.suspend()
        try:
            await until(lambda: all(_stopped(p) for p in family), what="all have stopped")
            acknowledged = list(journal)
            await asyncio.to_thread(_run, "cp", "--sparse=always", str(self.image), str(copy))
        finally:
            for process in family:
                process.resume()
        with ExitStack() as stack:
            stack.callback(copy.unlink)
            yield await asyncio.to_thread(stack.enter_context, _mounted(copy)), acknowledged


def _stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return True


@contextmanager
def running_disk(mib: int = 512) -> Generator[Disk]:
    """An empty one; skips the test where there are no loop devices."""
    require_loop_devices()
    with tempfile.TemporaryDirectory(prefix="hwd") as folder:
        image = Path(folder) / "disk"
        _make(image, mib)
        with _mounted(image) as place:
            yield Disk(image, place)
