"""Deployed versions and current tasks, as `headway-settings` has them, ready to be looked up."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct

from headway.wire import decoder, encode
from headway.wire.fleet import Deployment, TaskSpec
from headway.wire.rpc import VersionInfo

if TYPE_CHECKING:
    from headway_engine.store.edge.settings import Settings


class Deployed(Struct):
    """The value of `deploy.<ns>.<digest of the version>`."""

    at: datetime
    what: Deployment


class Current(Struct):
    """The value of `current.<ns>`: task to version."""

    tasks: dict[str, str]


DEPLOYED, CURRENT = decoder(Deployed), decoder(Current)


def deploy_key(ns: str, version: str) -> str:
    """Where a version is written; its name may hold anything."""
    return f"deploy.{ns}.{sha256(version.encode()).hexdigest()[:32]}"


def current_key(ns: str) -> str:
    """Where the current versions of a namespace's tasks are written."""
    return f"current.{ns}"


class Registry:
    """Looks up what the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version = -1
        self._found: dict[tuple[str, str, str], tuple[TaskSpec, VersionInfo] | None] = {}

    def known(self, ns: str, task: str, version: str) -> tuple[TaskSpec, VersionInfo] | None:
        """Spec and version of a task; of the current version if it is empty."""
        if self._version != self._settings.version:
            self._version = self._settings.version
            self._found.clear()
        place = (ns, task, version)
        if place not in self._found:
            self._found[place] = self._look(ns, task, version)
        return self._found[place]

    def _look(self, ns: str, task: str, version: str) -> tuple[TaskSpec, VersionInfo] | None:
        version = version or self.current(ns).get(task, "")
        found = self.deployed(ns, version)
        if found is None:
            return None
        what = found.what
        for spec in what.tasks:
            if spec.task == task:
                return spec, VersionInfo(version, what.image, what.modules, what.source, what.dev)
        return None

    def current(self, ns: str) -> dict[str, str]:
        """Task to version."""
        found: Current | None = self._settings.value(current_key(ns), CURRENT)
        return {} if found is None else found.tasks

    def deployed(self, ns: str, version: str) -> Deployed | None:
        """A version."""
        found: Deployed | None = self._settings.value(deploy_key(ns, version), DEPLOYED)
        return found

    def all(self, ns: str) -> list[Deployed]:
        """All versions of a namespace."""
        keys = [key for key, _ in self._settings.under(f"deploy.{ns}.")]
        return [found for key in keys if (found := self._settings.value(key, DEPLOYED))]

    async def deploy(self, ns: str, what: Deployment, at: datetime) -> None:
        """Write a version and make it the current one of its tasks; raises WrongLast, StoreDown."""
        key = deploy_key(ns, what.version)
        await self._settings.put(key, encode(Deployed(at, what)), self._settings.seq(key))
        tasks = self.current(ns) | {spec.task: what.version for spec in what.tasks}
        key = current_key(ns)
        await self._settings.put(key, encode(Current(tasks)), self._settings.seq(key))
