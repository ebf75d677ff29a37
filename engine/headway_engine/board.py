"""What an engine has heard of all engines, agents and queues: 15 minutes of it, in memory.

It listens to the beats that everybody may see, its own among them, and asks nobody. So each engine
can answer for all: `metrics`, the flows in `queues`, what is on the hosts in `agents`. What was
said while it was not there, or had no link, is a gap. The role `api` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from headway import subjects
from headway.wire import Malformed, decode, decoder
from headway.wire.events import AGENT_BEAT, ENGINE_BEAT, AgentBeat, Sample
from headway.wire.fleet import AgentRow, AgentsSample, Metrics, MetricsAsk, QueueFlow, QueueRow
from headway_engine.service import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway.bus import Connection
    from headway_engine.control import Asker

KEEP = 900
"""Samples of each engine, and of the agents of each namespace: one a second."""
HEARD = 3.5
"""Seconds without a beat after which its sender does not count."""
MOST = 6000
"""Samples of engines in one answer."""
_ASK, _ROW = decoder(MetricsAsk), decoder(QueueRow)
_DROPS = ("log_lines", "log_lines_dropped", "spans_dropped")


class _Agent:
    """An agent's last beat, and what it had counted at the last tick."""

    __slots__ = ("at", "beat", "seen")

    def __init__(self, beat: AgentBeat, at: float) -> None:
        self.beat, self.at = beat, at
        self.seen = self.counts()

    def counts(self) -> tuple[float, ...]:
        return tuple(self.beat.counters.get(name, 0.0) for name in _DROPS)

    def grown(self) -> list[float]:
        """What it counted since the last tick; one that was started anew begins from nothing."""
        counts, seen = self.counts(), self.seen
        self.seen = counts
        return [n - s if n >= s else n for n, s in zip(counts, seen, strict=True)]


class Board(Ticker):
    """Hears beats; once a second the agents' numbers become a sample."""

    name = "board"

    def __init__(self, nc: Connection) -> None:
        super().__init__(1.0)
        self._nc = nc
        self._clock = time.monotonic
        self._samples: dict[str, deque[Sample]] = {}
        self._engines: dict[str, float] = {}
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._sums: dict[str, deque[AgentsSample]] = {}
        self._flows: dict[tuple[str, str], dict[str, QueueFlow]] = {}

    # --- hearing

    async def run(self) -> None:
        """Listen until stopped."""
        subs = [
            await self._nc.subscribe(subject, cb=heard)
            for subject, heard in (
                (subjects.beat_engine(), self._on_engine),
                (subjects.BEATS_OF_AGENTS, self._on_agent),
                (subjects.BEATS_OF_QUEUES, self._on_queue),
            )
        ]
        try:
            await super().run()
        finally:
            if not self._nc.is_closed:
                with contextlib.suppress(Exception):  # the link may be away
                    await asyncio.gather(*(sub.unsubscribe() for sub in subs))

    async def _on_engine(self, msg: Any) -> None:
        with contextlib.suppress(Malformed):
            beat = decode(ENGINE_BEAT, msg.data)
            self._engines[beat.engine] = self._clock()
            if beat.sample is not None:
                self._samples.setdefault(beat.engine, deque(maxlen=KEEP)).append(beat.sample)

    async def _on_agent(self, msg: Any) -> None:
        with contextlib.suppress(Malformed):
            beat = decode(AGENT_BEAT, msg.data)
            # Who it is: for that the broker vouches, not the body.
            ns, name = msg.subject.split(".")[3:]
            known = self._agents.get((ns, name))
            if known is None:
                self._agents[ns, name] = _Agent(beat, self._clock())
            else:
                known.beat, known.at = beat, self._clock()

    async def _on_queue(self, msg: Any) -> None:
        with contextlib.suppress(Malformed):
            row = decode(_ROW, msg.data)
            ns, queue = msg.subject.split(".")[3:]
            for flow in row.flows:
                self._flows.setdefault((ns, queue), {})[flow.engine] = flow

    async def once(self) -> float | None:
        """A second has gone by."""
        now, at = self._clock(), datetime.now(UTC)
        sums: dict[str, list[float]] = {}
        for place, agent in list(self._agents.items()):
            if now - agent.at > KEEP:
                del self._agents[place]
            elif now - agent.at <= HEARD:
                sums[place[0]] = [
                    a + b for a, b in zip(sums.get(place[0], [0.0] * 3), agent.grown(), strict=True)
                ]
        for ns, grown in sums.items():
            sample = AgentsSample(at, *grown)
            self._sums.setdefault(ns, deque(maxlen=KEEP)).append(sample)
        old = at - timedelta(seconds=KEEP)
        for kept in (self._samples, self._sums):
            for name in [n for n, samples in kept.items() if samples[-1].at < old]:
                del kept[name]
        for engine in [e for e, heard in self._engines.items() if now - heard > HEARD]:
            # A queue's rates are the last ones said; of an engine that is gone there are none.
            del self._engines[engine]
            for flows in self._flows.values():
                flows.pop(engine, None)
        for place in [p for p, flows in self._flows.items() if not flows]:
            del self._flows[place]
        return None

    # --- telling

    def on_queues(self, ns: str, rows: Iterable[QueueRow]) -> None:
        """Write into the rows what engines saw of these queues."""
        for row in rows:
            row.flows = tuple(self._flows.get((ns, row.queue), {}).values())

    def on_agents(self, ns: str, rows: Iterable[AgentRow]) -> None:
        """Write into the rows what is on the agents' hosts."""
        late = self._clock() - HEARD
        for row in rows:
            known = self._agents.get((ns, row.agent))
            if known is not None and known.at > late:
                beat = known.beat
                row.version, row.cpu = beat.version, beat.cpu
                row.memory, row.memory_total = beat.memory, beat.memory_total
                row.containers, row.warm, row.beat_at = beat.containers, beat.warm, beat.at

    async def metrics(self, asker: Asker, body: bytes) -> Metrics:
        """The verb `metrics`."""
        ask = decode(_ASK, body)
        now = datetime.now(UTC)
        after = now - timedelta(seconds=ask.last)
        most = max(60, MOST // max(1, len(self._samples)))
        counts = [
            agent.counts()
            for (ns, _), agent in self._agents.items()
            if ns == asker.ns and self._clock() - agent.at <= HEARD
        ]
        return Metrics(
            now,
            {
                engine: [s for s in samples if s.at > after][-most:]
                for engine, samples in self._samples.items()
            },
            [s for s in self._sums.get(asker.ns, ()) if s.at > after],
            *(int(sum(column)) for column in zip(*counts, strict=True)),
        )
