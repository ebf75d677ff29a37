"""Docker: version, what it can limit, whether sockets cross."""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from typing import Any

from headway_ops.checks.finding import Finding, bad, note, ok, probe

MIN_API = (1, 41)
"""Docker 20.10."""


async def docker() -> list[Finding]:
    """What its engine says of itself, then a container that looks for a socket."""
    if find_spec("docker") is None:
        return [note("docker", "not looked at: the engine extra is not installed here")]

    def ask() -> tuple[dict[str, Any], dict[str, Any]]:
        import docker

        client = docker.APIClient(os.environ.get("DOCKER_HOST"), timeout=4)
        try:
            return dict(client.version()), dict(client.info())
        finally:
            client.close()

    try:
        version, info = await asyncio.to_thread(ask)
    except Exception as e:
        return [note("docker", f"no engine answers here ({type(e).__name__})",
                     "start it, or agents on this host need --runtime process")]  # fmt: skip
    return [*docker_facts(version, info), *await probe("channel", channel)]


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
