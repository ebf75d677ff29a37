"""What is registered of tasks and versions, cached briefly: a commit need not ask each time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from headway.wire.rpc import VersionInfo
from headway_engine.store.postgres import rows, statements

if TYPE_CHECKING:
    from headway.retry import RetryPolicy
    from headway.wire.fleet import TaskSpec
    from headway_engine.store.postgres.db import Db

_SQL = statements.load("registry")

CURRENT_FOR = 1.0
"""Seconds for which the current version of a task is believed."""
PINNED_FOR = 30.0
"""Seconds for which a version's spec is believed; only a development version changes."""


class Known(NamedTuple):
    """A task under a version."""

    version: str
    spec: TaskSpec
    policy: RetryPolicy
    info: VersionInfo


class Specs:
    """Cache of specs by (namespace, task, version); version `` = the current one."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._cache: dict[tuple[str, str, str], tuple[float, Known | None]] = {}

    def clear(self) -> None:
        """After a deployment by this engine."""
        self._cache.clear()

    def peek(self, ns: str, task: str, version: str) -> Known | None:
        """What the cache has, however old."""
        entry = self._cache.get((ns, task, version))
        return None if entry is None else entry[1]

    async def get(self, ns: str, task: str, version: str = "") -> Known | None:
        """The spec, or None if the task or version is not registered."""
        entry = self._cache.get((ns, task, version))
        now = time.monotonic()
        if entry is not None and entry[0] > now:
            return entry[1]
        found = await self._db.fetch(_SQL["spec"], ns, task, version)
        known = None
        if found:
            row = found[0]
            spec = rows.spec_of(row["spec"])
            info = VersionInfo(
                row["version"], row["image"], tuple(row["modules"]), row["source"], row["dev"]
            )
            known = Known(row["version"], spec, spec.policy(), info)
        if len(self._cache) > 10_000:
            self._cache.clear()
        keep = PINNED_FOR if version and known is not None else CURRENT_FOR
        self._cache[ns, task, version] = (now + keep, known)
        return known
