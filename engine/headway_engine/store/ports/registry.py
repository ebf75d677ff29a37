"""Versions of tasks and what each declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headway.wire.fleet import Deployment, DeploymentRow, TaskSpec

__all__ = ["Registry"]


class Registry(Protocol):
    """Versions of tasks and what each declares."""

    async def deploy(self, ns: str, what: Deployment) -> list[str]:
        """Register a version and make it the current one of its tasks; warnings, if any."""
        ...

    async def spec(self, ns: str, task: str, version: str = "") -> tuple[str, TaskSpec] | None:
        """(version, spec) of a task, the current one by default; cached briefly."""
        ...

    async def deployments(self, ns: str) -> list[DeploymentRow]:
        """Newest first."""
        ...
