"""Docker: version, what it can limit, whether sockets cross."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.util import find_spec
from typing import Any

from headway_ops.checks.finding import Finding, bad, note, ok

MIN_API = (1, 41)
"""Docker 20.10."""
PATIENCE = 15
"""Seconds for an answer of the engine."""
SLOW = 5.0
"""Seconds; what takes longer is told."""
PROBE_PATIENCE = 30.0
"""Seconds for the probe containers, of which each has 20."""


async def docker(url: str = "", patience: int = PATIENCE) -> list[Finding]:
    """What its engine says of itself, then a container that looks for a socket.

    On a busy host both take many seconds, and containers still work: slow is no fault of Docker's.
    `url`: the engine, else DOCKER_HOST says, else it is the default; `patience`: seconds for each
    of its answers.
    """
    if find_spec("docker") is None:
        return [note("docker", "not looked at: the engine extra is not installed here")]
    began = time.monotonic()
    try:
        version, info = await asyncio.to_thread(_ask, url, patience)
    except Exception as e:
        if _is_timeout(e):
            todo = "look how busy this host is, and into its log (`journalctl -u docker`)"
            what = f"no answer within {patience} s: it is slow, or hangs"
            return [note("docker", what, todo)]
        return [note("docker", f"no engine answers here ({type(e).__name__})",
                     "start it, or agents on this host need --runtime process")]  # fmt: skip
    found = docker_facts(version, info)
    if (took := time.monotonic() - began) > SLOW:
        found.append(note("docker", f"slow: it took {took:.0f} s to answer", "look how busy this"
                          " host is: each start of a runner waits like that"))  # fmt: skip
    return found


def _ask(url: str, patience: int) -> tuple[dict[str, Any], dict[str, Any]]:
    import docker

    url = url or os.environ.get("DOCKER_HOST", "")
    client = docker.APIClient(url or None, timeout=patience)
    try:
        return dict(client.version()), dict(client.info())
    finally:
        client.close()


def _is_timeout(error: BaseException | None) -> bool:
    """docker-py wraps what `requests` wrapped of urllib3: somewhere below is the time-out."""
    while error is not None:
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False


def docker_facts(version: dict[str, Any], info: dict[str, Any]) -> list[Finding]:
    """What `docker version` and `docker info` mean for tasks."""
    api = str(version.get("ApiVersion", ""))
    shown = f"{version.get('Version', '?')}, API {api or '?'}"
    parts = tuple(int(part) for part in api.split(".") if part.isdigit())
    if parts and parts < MIN_API:
        return [bad("docker", f"{shown} is too old", "install Docker 20.10 or newer")]
    rootless = "rootless" in str(info.get("SecurityOptions"))
    cgroup = str(info.get("CgroupVersion") or "?")
    findings = [ok("docker", f"{shown}, cgroup v{cgroup}" + (", rootless" if rootless else ""))]
    missing = [what for key, what in _LIMITS.items() if info.get(key) is False]
    if missing:
        todo = (
            "delegate cgroup v2 controllers to the user's slice"
            if rootless
            else ("boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)")
        )
        findings.append(bad("docker", f"no limit of {', '.join(missing)}: one task can take the"
                            " whole host", todo))  # fmt: skip
    if info.get("LiveRestoreEnabled") is False:
        what = (
            "live-restore is off: its restart ends all attempts (they go on at their checkpoints)"
        )
        findings.append(note("docker", what, f"put {_LIVE} into /etc/docker/daemon.json"))
    return findings


_LIVE = '{"live-restore": true}'
_LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "CPU", "PidsLimit": "processes"}


async def channel() -> list[Finding]:
    """How containers talk to an agent here, found out with probe containers."""
    from headway_engine.assembly_agent import way_of_containers
    from headway_ops.hostimage import base_tag

    found = await way_of_containers(base_tag())
    if found is None:
        todo = "`headway up` or `headway image build` makes it"
        return [note("channel", "not probed: no base image yet", todo)]
    if found.way is None:
        return [ok("channel", "unix sockets: a probe container reached one")]
    what = f"unix sockets do not cross; TCP does: a probe container reached {found.way.dial}"
    if found.way.opens:
        todo = "agents need agent.open_network = true, or the Docker engine's own host"
        return [note("channel", f"{what}, from a network with access to the outside", todo)]
    return [ok("channel", what)]
