"""A Docker engine of a test's own, to be killed and restarted; the machine's is not touched.

Its data, socket, containerd and bridge are its own, and it leaves the firewall alone. Needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import psutil
import pytest

from headway_ops import hostimage
from headway_ops.local.process import Process
from support.servers import open_folder
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Dockerd:
    """One daemon; `start`, `stop` and `kill` may be repeated."""

    def __init__(self, folder: Path, bridge: str) -> None:
        self._folder, self._bridge = folder, bridge
        self.socket = folder / "d.sock"
        self.url = f"unix://{self.socket}"
        self.process = Process("dockerd", folder / "log")
        self.image = ""
        """The base image, once it was started."""

    async def start(self) -> None:
        """Return when it answers."""
        # Never `--bridge=none`: that deletes the bridge of the machine's own daemon.
        command = [
            "dockerd", "--host", self.url, "--data-root", str(self._folder / "data"),
            "--exec-root", str(self._folder / "run"), "--pidfile", str(self._folder / "pid"),
            "--bridge", self._bridge, "--iptables=false", "--ip6tables=false",
            "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
        ]  # fmt: skip
        (self._folder / "pid").unlink(missing_ok=True)  # of one that was killed
        self.process.spawn(command, death_signal=signal.SIGTERM)
        await self.process.until(self._answers, 60)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        # By hand: docker-py leaves its socket open when there is no answer.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(self.socket))
            s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in s.recv(100)
        return False

    async def load(self) -> None:
        """Make the base image of tasks in it."""

        def make() -> str:
            client: Any = docker.APIClient(self.url, version="auto", timeout=120)
            try:
                return hostimage.ensure_host_base(client).id
            finally:
                client.close()

        self.image = await asyncio.to_thread(make)

    async def stop(self) -> None:
        """As `systemctl stop docker` does; its containers end with it."""
        await self.process.stop(signal.SIGTERM, within=30)

    def kill(self) -> None:
        """SIGKILL, its containerd too: the containers go on without them."""
        self.process.kill()
        servers = [p for p in self.running() if p.name() == "containerd"]
        for process in servers:
            process.kill()
        psutil.wait_procs(servers, 10)
        # Where nobody reaps it, its process id looks alive.
        (self._folder / "run" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def running(self) -> list[psutil.Process]:
        """Processes under its folder: its containerd and what that started."""
        mark = str(self._folder)
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(mark in word for word in process.cmdline()):
                    found.append(process)
        return found


@asynccontextmanager
async def private_dockerd() -> AsyncGenerator[Dockerd]:
    """Started, with the base image; nothing of it is left."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or shutil.which("ip") is None:
        if "dockerd" in os.environ.get("HEADWAY_REQUIRE", "").split(","):
            pytest.fail("a second dockerd needs root, dockerd and ip")
        pytest.skip("a second dockerd needs root, dockerd and ip")
    bridge = f"hwt{os.getpid() % 1_000_000}"
    ip = ["ip", "link"]
    subprocess.run([*ip, "add", bridge, "type", "bridge"], check=True)  # noqa: ASYNC221
    try:
        with open_folder("dockerd") as folder:
            daemon = Dockerd(folder, bridge)
            try:
                await daemon.start()
                await daemon.load()
                yield daemon
            finally:
                await daemon.stop()
                for process in daemon.running():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                await until(lambda: not daemon.running(), 20, every=0.1)
                _unmount(folder)
    finally:
        subprocess.run([*ip, "del", bridge], check=False)  # noqa: ASYNC221


def _unmount(folder: Path) -> None:
    """What killed containers leave mounted."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for place in sorted((line.split()[1] for line in lines), reverse=True):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)
