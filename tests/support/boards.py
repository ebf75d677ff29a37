"""Recorded queues, agents and samples for the console, on its fixed clock."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from headway.wire.events import AgentBeat, Sample
from headway.wire.fleet import AgentRow, AgentsSample, Metrics, QueueFlow, QueueRow
from headway.wire.runs import UsageRow
from headway_tui.screens.metrics import MetricsScreen
from headway_tui.screens.queues import QueuesScreen
from support.consoles import NOW, show

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp

TICK = time.monotonic() + 3600
"""The monotonic clock of the screens: nothing that was heard grows old meanwhile."""
GIB = 1024**3


def queue_rows() -> list[QueueRow]:
    """One at its limit, an idle one, a paused one, one that nobody serves."""
    paused = NOW - timedelta(minutes=34)
    return [
        QueueRow("agents", 32, queued=110, dispatched=2, open=32, agents=2,
                 oldest_at=NOW - timedelta(seconds=8.1), at=NOW,
                 flows=(QueueFlow("e1", NOW, 2.2, 2.1, 7.9), QueueFlow("e2", NOW, 2.0, 1.9, 0.4)),
                 depth=tuple(int(60 + 50 * math.sin(i / 9)) for i in range(60))),
        QueueRow("default", 100, open=5, agents=2, at=NOW, depth=(0,) * 50,
                 flows=(QueueFlow("e1", NOW, 0.8, 0.8, 0.1),)),
        QueueRow("gpu", queued=3, oldest_at=NOW - timedelta(seconds=70), at=NOW, depth=(1, 2, 3)),
        QueueRow("slow", 4, paused=True, queued=14, oldest_at=NOW - timedelta(minutes=6), at=NOW,
                 paused_by="user:ana", paused_at=paused, reason="llm bill", depth=(14,) * 60),
    ]  # fmt: skip


def agent_rows() -> list[AgentRow]:
    """Good, full, draining, lost."""
    lease = NOW + timedelta(seconds=12)
    both = ("agents", "default")
    return [
        AgentRow("edge-3", "edge-3.lan", True, 3, lease, "docker", both, 8, open=6),
        AgentRow("edge-4", "edge-4.lan", True, 1, lease, "docker", both, 8, open=8),
        AgentRow("edge-5", "edge-5.lan", True, 1, lease, "docker", both, 8, open=2,
                 drain="drain", drain_by="user:bo", drain_at=NOW - timedelta(minutes=2),
                 drain_reason="new kernel"),
        AgentRow("edge-6", "edge-6.lan", False, 9, NOW, "docker", ("slow",), 8, open=3),
    ]  # fmt: skip


def beats() -> dict[str, tuple[AgentBeat, float]]:
    """The last ones of those agents."""
    told = [("edge-3", 6, 0.52, 9.1, 6, 0.4, 0), ("edge-4", 8, 0.91, 11.0, 8, 0.9, 12),
            ("edge-5", 2, 0.11, 2.0, 2, 0.2, 0), ("edge-6", 3, 0.2, 2.0, 3, 14.0, 0)]  # fmt: skip
    return {
        name: (
            AgentBeat(name, "default", name, "docker", ("default",), 8, open_, 2,
                      draining=name == "edge-5", at=NOW, version="0.1.0", cpu=cpu,
                      memory=int(memory * GIB), memory_total=16 * GIB, containers=containers,
                      counters={"log_lines": 900.0, "log_lines_dropped": dropped}),
            TICK - age,
        )
        for name, open_, cpu, memory, containers, age, dropped in told
    }  # fmt: skip


def metrics() -> Metrics:
    """A quarter of an hour of two engines, one of which is younger; a gap in the middle."""

    def sample(i: int, share: float) -> Sample:
        wave = 1 + math.sin(i / 60)
        bad = 1.0 if 600 <= i < 660 else 0.0
        return Sample(NOW - timedelta(seconds=899 - i), round(2.1 * wave * share, 2), bad * share,
                      0.2 * wave * share, 0.5 + 4 * wave, 0.4 + i / 3000, 0.006, int(30 * bad),
                      int(1 + 2 * wave), 10)  # fmt: skip

    return Metrics(
        NOW,
        {"engine-a": [sample(i, 1.0) for i in range(900) if not 300 <= i < 340],
         "engine-b": [sample(i, 0.5) for i in range(500, 900)]},
        [AgentsSample(NOW - timedelta(seconds=899 - i), 400 + 400 * (i % 90) / 90, float(i == 700))
         for i in range(900)],
        812_345, 12, 0,
    )  # fmt: skip


async def open_queues(app: HeadwayApp, pilot: Any) -> QueuesScreen:
    """The screen with its facts."""
    await pilot.press("2")
    await pilot.pause()
    screen = app.screen
    assert isinstance(screen, QueuesScreen)
    assert screen.feed is not None
    screen.now, screen.clock = lambda: NOW, lambda: TICK
    app.link.agents = beats()
    screen.queues.asking()
    screen.queues.snapshot(queue_rows())
    screen.agents.snapshot(agent_rows())
    screen.feed.loading = False
    screen.queue_table.touch()
    await show(app, pilot)
    return screen


async def open_metrics(app: HeadwayApp, pilot: Any) -> MetricsScreen:
    """The screen with its facts."""
    await pilot.press("5")
    await pilot.pause()
    screen = app.screen
    assert isinstance(screen, MetricsScreen)
    assert screen.feed is not None
    screen.now = lambda: NOW
    screen.view.snapshot(metrics())
    screen.view.used = [UsageRow("research-agent", 34, 41, 1_204_000, 88_100, 12.4),
                        UsageRow("digest", 6, 6, 90_000, 2_300, 0.61)]  # fmt: skip
    screen.feed.loading = False
    screen.curves.touch()
    await show(app, pilot)
    return screen
