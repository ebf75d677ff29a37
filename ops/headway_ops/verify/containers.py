"""I16: containers with our label on this host's Docker belong to agents that live."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headway_ops.verify.report import Report

LABEL = "headway.owner"
REAP_AFTER = 120.0
"""Seconds that a container may be without a living agent: the agent may be starting again."""


async def check(leases: Mapping[str, float | None], report: Report) -> None:
    """Look at them, if Docker answers; which run one holds is known to its agent alone.

    `leases`: `<namespace>.<agent>` to the seconds since its lease ended; None = it has none.
    """
    report.skip("I15", "which run a container holds is known to its agent alone; what an older"
                " attempt writes is refused (I6)")  # fmt: skip
    if find_spec("docker") is None:
        report.skip("I16", "the engine extra is not installed here")
        return
    try:
        found = await asyncio.to_thread(_list)
    except Exception as e:
        report.skip("I16", f"no Docker answers here ({type(e).__name__})")
        return
    agents = {name: ago is not None and ago < REAP_AFTER for name, ago in leases.items()}
    for violation in judge(found, agents, time.time(), report):
        report.add(violation)


def judge(
    found: list[dict[str, Any]], agents: dict[str, bool], now: float, report: Report
) -> Iterator[Violation]:
    """Containers as Docker lists them, against the agents that are known and whether they live."""
    for container in found:
        owner = container["Labels"].get(LABEL, "")
        if owner not in agents:
            continue  # of another installation on this host
        report.count("I16")
        age = now - float(container["Created"])
        if container["State"] == "running" and not agents[owner] and age > REAP_AFTER:
            yield Violation("I16", "", f"container {container['Id'][:12]} runs, and its agent"
                            f" {owner} does not")  # fmt: skip


def _list() -> list[dict[str, Any]]:
    import docker

    client: Any = docker.APIClient(os.environ.get("DOCKER_HOST"), timeout=4)
    try:
        return client.containers(all=True, filters={"label": [LABEL]})
    finally:
        client.close()
