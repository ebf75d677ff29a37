"""Deployed versions and their tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire import encode
from headway.wire.fleet import Deployment, DeploymentRow, TaskSpec
from headway_engine.store.postgres import statements
from headway_engine.store.postgres.base import Part

if TYPE_CHECKING:
    from headway_engine.store.postgres.db import Connection
    from headway_engine.store.postgres.specs import Specs

_SQL = statements.load("registry")


class Registry(Part):
    """See the port."""

    specs: Specs

    async def deploy(self, ns: str, what: Deployment) -> list[str]:
        """Register a version and make it current; warnings."""
        tasks = sorted(what.tasks, key=lambda t: t.task)
        warnings: list[str] = []

        async def op(conn: Connection) -> None:
            warnings.clear()
            async with conn.transaction():
                for spec in tasks:
                    old = await conn.fetchrow(_SQL["spec"], ns, spec.task, "")
                    if old is not None and old["version"] == what.version and not what.dev:
                        warnings.append(
                            f"{spec.task}: version {what.version} was registered"
                            " before and is replaced"
                        )
                await conn.execute(
                    _SQL["deploy"],
                    ns,
                    what.version,
                    what.image,
                    what.image_tag,
                    list(what.modules),
                    what.source,
                    what.dev,
                )
                await conn.execute(_SQL["retire"], ns, [t.task for t in tasks])
                await conn.execute(
                    _SQL["tasks"],
                    ns,
                    what.version,
                    [t.task for t in tasks],
                    [encode(t) for t in tasks],
                )
                await conn.execute(_SQL["queues"], ns, sorted({t.queue for t in tasks}))

        await self.db.call(op)
        self.specs.clear()
        return warnings

    async def spec(self, ns: str, task: str, version: str = "") -> tuple[str, TaskSpec] | None:
        """(version, spec), the current one by default; cached for a second."""
        known = await self.specs.get(ns, task, version)
        return None if known is None else (known.version, known.spec)

    async def deployments(self, ns: str) -> list[DeploymentRow]:
        """Newest first."""
        return [
            DeploymentRow(
                r["version"],
                r["image"],
                r["image_tag"],
                tuple(r["tasks"]),
                r["at"],
                r["current"],
                r["live"],
                r["dev"],
            )
            for r in await self.db.read(_SQL["deployments"], ns)
        ]
