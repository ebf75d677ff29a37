"""What an agent tells of itself: a beat a second for the eyes, and numbers for Prometheus.

Nothing is decided by it: the lease has its own beat (`leases`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway._version import __version__
from headway.wire import encode
from headway.wire.events import AgentBeat
from headway_engine.agent.host import Host
from headway_engine.clock import on_grid
from headway_engine.metrics.families import Family, agent_families

if TYPE_CHECKING:
    from headway_engine.agent.service import Agent

BEAT_EVERY = 1.0
"""Seconds."""


class Telling:
    """The beats and numbers of one agent whose parts are made."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def counters(self) -> dict[str, float]:
        """What happened since it started, and how many tasks its loop has."""
        attempts = self._agent.attempts
        return {
            "tasks": len(asyncio.all_tasks()),
            "ended": attempts.finished,
            "stale": attempts.stopping.stale,
            "frozen": attempts.stopping.freezes,
            "violations": attempts.violations,
            "redelivered": self._agent.link.redelivered,
            "log_lines": attempts.outputs.lines,
            "log_lines_dropped": attempts.outputs.dropped,
            "spans": attempts.spans.taken,
            "spans_dropped": attempts.spans.dropped,
        }

    def families(self) -> list[Family]:
        """All of it, as Prometheus scrapes it."""
        a = self._agent
        c = a.config
        return agent_families(
            {"agent": c.name, "ns": c.ns, "runtime": c.runtime, "version": __version__},
            self.counters(),
            {"start": a.attempts.starts, "attempt": a.attempts.durations},
            slots=(c.slots, c.shared_slots),
            free=a.claims.free(),
            warm=a.pool.warm,
            ready=a.open,
            degraded=bool(a.degraded),
            draining=bool(a.draining),
        )

    async def beats(self) -> None:
        """Tell it, until cancelled."""
        host = Host()
        while True:
            host.look()
            await self._agent.link.publish_beat(encode(self._beat(host)))
            await asyncio.sleep(on_grid(asyncio.get_running_loop().time(), BEAT_EVERY))

    def _beat(self, host: Host) -> AgentBeat:
        a = self._agent
        c = a.config
        free, shared_free = a.claims.free()
        return AgentBeat(
            agent=c.name,
            ns=c.ns,
            host=a.host,
            runtime=c.runtime,
            queues=c.queues,
            slots=c.slots,
            open=len(a.attempts.live),
            warm=a.pool.warm,
            shared_slots=c.shared_slots,
            degraded=a.degraded,
            draining=bool(a.draining),
            at=datetime.now(UTC),
            counters=self.counters(),
            version=__version__,
            cpu=host.cpu(),
            memory=host.memory,
            memory_total=host.memory_total,
            containers=len(a.pool.workers),
            free=free,
            shared_free=shared_free,
        )
