"""How a task's runner is started: limits within the agent's caps, network, environment; pure.

Runners with the same plan key are interchangeable: the key holds what belongs to the container, and
nothing about a run.
"""

from __future__ import annotations

import posixpath
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.errors import HeadwayError
from headway_engine.runtime import Limits

if TYPE_CHECKING:
    from headway.wire.fleet import TaskSpec
    from headway.wire.rpc import VersionInfo
    from headway_engine.agent.config import Caps


NOT_A_SOURCE = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/lib", "/var/run")
"""Folders of this host that no container sees, whoever deploys: they and all below."""
NOT_WHOLE = ("/", "/home", "/root", "/tmp", "/usr", "/var")
"""Folders that are no project, though one may lie below."""


def flaw_of_source(source: str) -> str:
    """Why a development folder may not be mounted into containers; empty if it may."""
    path = posixpath.normpath("/" + source.lstrip("/"))
    if not source.startswith("/") or ".." in source.split("/"):
        return "expected an absolute path without `..`"
    if any(c in source for c in "\0:\n"):
        return "no `:` and no control characters in it"
    if path in NOT_WHOLE or any(path == p or path.startswith(p + "/") for p in NOT_A_SOURCE):
        return "that is no project's folder"
    return ""


class NotAllowed(HeadwayError):
    """A task asks for what this agent's caps do not allow."""

    code = "not_allowed"


class Plan(Struct, frozen=True):
    """One way to start a runner."""

    key: str
    """16 hex; the pool key."""
    version: str
    task: str
    image: str
    limits: Limits
    network: str
    shared: bool
    env: tuple[str, ...]
    secrets: tuple[str, ...]
    modules: tuple[str, ...]
    source: str
    """Development: the folder on this host."""
    source_seen: str
    """The same folder as the runner sees it."""
    grace: float
    suspend_after: float
    dev: bool = False


def on_host(message: str, plan: Plan) -> str:
    """What a runner says of its task's folder, with the folder's name on the host added."""
    if not plan.source or plan.source_seen == plan.source or plan.source_seen not in message:
        return message
    return f"{message} ({plan.source_seen} is {plan.source} on the host)"


def plan_of(spec: TaskSpec, info: VersionInfo, caps: Caps, source_at: str = "") -> Plan:
    """The plan of a task under a version; raises NotAllowed for a network that it may not use.

    Limits over the caps are lowered to them. `source_at`: where the runtime shows the source.
    """
    if spec.network not in caps.networks:
        raise NotAllowed(f"network {spec.network!r} is not allowed on this agent")
    if info.source and source_at and (flaw := flaw_of_source(info.source)):
        raise NotAllowed(f"source {info.source[:200]!r} is not mounted: {flaw}")
    limits = Limits(
        memory=min(spec.memory, caps.memory),
        cpus=min(spec.cpus, caps.cpus),
        pids=min(spec.pids, caps.pids),
    )
    shared = spec.isolation == "shared"
    parts = (
        info.version, info.image, limits.memory, limits.cpus, limits.pids, spec.network,
        sorted(spec.env), sorted(spec.secrets), shared, info.modules, info.source,
    )  # fmt: skip
    return Plan(
        key=sha256(msgspec.json.encode(parts)).hexdigest()[:16],
        version=info.version,
        task=spec.task,
        image=info.image,
        limits=limits,
        network=spec.network,
        shared=shared,
        env=spec.env,
        secrets=spec.secrets,
        modules=info.modules,
        source=info.source,
        source_seen=(source_at or info.source) if info.source else "",
        grace=spec.grace,
        suspend_after=spec.suspend_after,
        dev=info.dev,
    )


class Plans:
    """Plans by (version, task): what engines said about them so far."""

    def __init__(self, caps: Caps, source_at: str = "") -> None:
        self._caps, self._source_at = caps, source_at
        self.specs: dict[tuple[str, str], TaskSpec] = {}
        self.versions: dict[str, VersionInfo] = {}
        self._plans: dict[tuple[str, str], Plan] = {}

    def learn_version(self, info: VersionInfo) -> None:
        """An answer described a version."""
        if self.versions.get(info.version) != info:
            self.versions[info.version] = info
            for key in [k for k in self._plans if k[0] == info.version]:
                del self._plans[key]

    def learn_spec(self, version: str, spec: TaskSpec) -> None:
        """An answer described a task of a version."""
        if self.specs.get((version, spec.task)) != spec:
            self.specs[(version, spec.task)] = spec
            self._plans.pop((version, spec.task), None)

    def get(self, version: str, task: str) -> Plan:
        """The plan; raises NotAllowed if it is unknown or not permitted here."""
        plan = self._plans.get((version, task))
        if plan is None:
            spec, info = self.specs.get((version, task)), self.versions.get(version)
            if spec is None or info is None:
                raise NotAllowed(f"nothing is known of task {task!r} in version {version!r}")
            plan = self._plans[(version, task)] = plan_of(spec, info, self._caps, self._source_at)
        return plan
