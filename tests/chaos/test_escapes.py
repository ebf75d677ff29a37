"""What hostile code meets in a hardened container: every way out that we know, and its answer."""

# ruff: noqa: ASYNC240 - small files of this machine

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from headway_engine.runtime import Grant, Limits, RunnerSpec
from headway_engine.runtime.docker import DockerRuntime
from support import escapes
from support.docker import base_image, require_docker
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

MEMORY, PIDS = 256 * 1024 * 1024, 40
NONE = [["0000000000000000"]]
NO = ["EPERM"]
READ_ONLY = ["EROFS", "EACCES"]
NOT_THERE = ["ENOENT", "EACCES", "EROFS", "EMPTY"]
NOWHERE = ["ENETUNREACH"]
NAMES_OF_ENVIRONMENT = [
    "HEADWAY_CHANNEL", "HOME", "HOSTNAME", "PATH", "PYTHONDONTWRITEBYTECODE",
    "PYTHONFAULTHANDLER", "PYTHONUNBUFFERED",
]  # fmt: skip
DEVICES = {
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
}  # fmt: skip

EXPECTED: dict[str, list[Any]] = {
    # name: the answers that are right
    "who: uid": [["1000"] * 4],
    "who: gid": [["1000"] * 4],
    "who: groups": [["1000"], []],
    "who: no new privileges": [["1"]],
    "who: seccomp": [["2"]],
    "who: setuid files": [[]],
    **{f"who: {c}": NONE for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
    "become: setuid 0": NO,
    "become: setgid 0": NO,
    "become: setgroups": NO,
    "become: a lower nice value": [*NO, "EACCES"],
    "become: a real-time process": NO,
    "become: spared by the memory killer": ["EACCES"],
    "files: root": READ_ONLY,
    "files: /etc/passwd": READ_ONLY,
    "files: /etc/hosts": READ_ONLY,
    "files: the interpreter": READ_ONLY,
    "files: the task's source": ["EROFS"],
    "files: the channel's folder": ["EROFS"],
    "files: names in the channel's folder": ["EACCES"],
    "files: another socket in its place": ["EROFS"],
    "files: a program in the temp folder": ["EACCES"],
    "files: a device": NO,
    "kernel: core_pattern": READ_ONLY,
    "kernel: sysrq": NOT_THERE,
    "kernel: sysrq-trigger": NOT_THERE,
    "kernel: ip_forward": READ_ONLY,
    "kernel: overcommit": READ_ONLY,
    "kernel: memory": NOT_THERE,
    "kernel: keys": NOT_THERE,
    "kernel: timers": NOT_THERE,
    "kernel: messages": [*NOT_THERE, "EPERM"],
    "kernel: firmware": [[], "ENOENT", "EACCES"],
    "kernel: devices in /sys": NOT_THERE,
    "cgroup: a release agent": NOT_THERE,
    "cgroup: more memory": NOT_THERE,
    **{f"namespaces: {how} {n}": NO for how in ("unshare", "clone") for n in escapes.NEW},
    **{f"call: {name}": [*NO, "ENOSYS"] for name in escapes.SYSCALLS},
    "processes: numbers of others": [[]],
    "processes: trace the agent": ["ESRCH"],
    "processes: signal the agent": ["ESRCH"],
    "network: interfaces": [["lo"]],
    "network: raw socket": NO,
    "network: packet socket": NO,
    "network: cloud metadata": NOWHERE,
    "network: a name server": NOWHERE,
    "network: the host's loopback": ["ECONNREFUSED"],
    "network: the host's own address": NOWHERE,
    "network: the bridge's address": NOWHERE,
    "network: the neighbour": NOWHERE,
    "sockets: docker": ["ENOENT"],
    "sockets: docker under /run": ["ENOENT"],
    "sockets: containerd": ["ENOENT"],
    "sockets: another container's, by its path on the host": ["ENOENT"],
    "sockets: another container's, beside its own": ["ENOENT"],
    "sockets: an abstract one of the host": ["ECONNREFUSED"],
    "limits: files": [[1024, 1024]],
    "limits: more files": NO,
    "limits: core": [[0, 0]],
    "limits: more core": NO,
    "limits: memory": [str(MEMORY)],
    "limits: processes": [str(PIDS)],
    "limits: memory killer first": ["500"],
    "limits: core dump": ["signal 6"],
    "environment: names": [NAMES_OF_ENVIRONMENT],
    "environment: of process 1": [NAMES_OF_ENVIRONMENT],
}
"""Without a network, which is the default. `files: names of devices` is compared by itself."""

WITH_EGRESS: dict[str, list[Any]] = EXPECTED | {
    # It leads outside on purpose; not to what listens on the host's loopback, nor to others.
    "network: interfaces": [["eth0", "lo"]],
    "network: the neighbour": ["ETIMEDOUT", "EHOSTUNREACH"],
}
OPEN_WITH_EGRESS = {
    "network: cloud metadata",
    "network: a name server",
    "network: the host's own address",
    "network: the bridge's address",
}
"""Not asserted there: what a host and its cloud offer on the network is a firewall's task
(ops/README.md)."""


class Bench:
    """Containers whose programs are the probe and a neighbour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = DockerRuntime(base_image=base_image())
        self.client: Any = docker.APIClient(version="auto")
        self.handles: list[Any] = []

    async def start(self, name: str, program: str, network: str) -> Any:
        """A container with this program."""
        channel = self.folder / f"ch-{name}"
        channel.mkdir(mode=0o711)
        spec = RunnerSpec(
            name=f"{self.folder.name.lower()}-{name}",
            owner=f"escapes-{os.getpid()}",
            grant=Grant(directory=str(channel)),
            source=str(self.folder / "src"),
            command=(f"{self.runtime.caps.source_at}/{program}",),
            limits=Limits(memory=MEMORY, pids=PIDS),
            network=network,
        )
        self.handles.append(await self.runtime.spawn(spec))
        return self.handles[-1]

    async def answers(self, places: dict[str, Any], network: str) -> dict[str, Any]:
        """What the probe met."""
        (self.folder / "src" / "places.json").write_text(json.dumps(places))
        handle = await self.start("probe", "escapes.py", network)

        async def ended() -> bool:
            return not (await self.runtime.inspect(handle)).running

        await until(ended, 60, what="the probe has tried everything", every=0.1)
        text = self.client.logs(handle.id, stderr=False).decode()
        found = dict(json.loads(line) for line in text.splitlines())
        assert found.pop("end", False), text[-2000:]
        return found


@asynccontextmanager
async def benched() -> AsyncGenerator[Bench]:
    """A bench; its containers are removed."""
    with tempfile.TemporaryDirectory(prefix="hw") as text:
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "src").mkdir()
        shutil.copy(escapes.__file__, folder / "src" / "escapes.py")
        (folder / "src" / "neighbour.py").write_text(
            "import socket, time\ns = socket.create_server(('0.0.0.0', 7777))\ntime.sleep(600)\n"
        )
        bench = Bench(folder)
        try:
            yield bench
        finally:
            for handle in bench.handles:
                await bench.runtime.remove(handle)
            await bench.runtime.close()
            bench.client.close()


def own_address() -> str:
    """This host's address in its network, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.1.1"
        return str(s.getsockname()[0])


@pytest.mark.parametrize("network", ["none", pytest.param("egress", marks=pytest.mark.nightly)])
async def test_no_way_out_of_a_container(network: str, nats: str) -> None:
    require_docker()
    broker = int(nats.rpartition(":")[2])
    outside = socket.create_server(("0.0.0.0", 0))
    outside.setblocking(False)
    port = outside.getsockname()[1]
    with outside, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + f"headway-test-{os.getpid()}")
        abstract.listen()
        async with benched() as bench:
            neighbour = await bench.start("neighbour", "neighbour.py", network)
            networks = bench.client.inspect_container(neighbour.id)["NetworkSettings"]["Networks"]
            address = next(iter(networks.values()))["IPAddress"] or "10.1.2.3"
            gateway = next(iter(networks.values()))["Gateway"] or "172.17.0.1"
            theirs = bench.folder / "ch-neighbour" / "s.sock"
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(theirs))
                other.listen()
                places = {
                    "agent": os.getpid(),
                    "servers": {
                        "the host's loopback": ["127.0.0.1", broker],
                        "the host's own address": [own_address(), port],
                        "the bridge's address": [gateway, port],
                        "the neighbour": [address, 7777],
                    },
                    "sockets": {
                        "another container's, by its path on the host": str(theirs),
                        "another container's, beside its own": "/run/hw/../ch-neighbour/s.sock",
                        "an abstract one of the host": "\0" + f"headway-test-{os.getpid()}",
                    },
                }
                found = await bench.answers(places, network)
        if network == "none":
            with pytest.raises(BlockingIOError):
                outside.accept()
    devices = found.pop("files: names of devices")
    assert set(devices) <= DEVICES, devices
    expected = dict(EXPECTED if network == "none" else WITH_EGRESS)
    if network != "none":
        for name in OPEN_WITH_EGRESS:
            del found[name], expected[name]
    assert found.keys() == expected.keys()
    wrong = {n: (a, expected[n]) for n, a in found.items() if a not in expected[n]}
    assert not wrong, "\n".join(f"{n}: {a!r}, expected {e}" for n, (a, e) in wrong.items())
