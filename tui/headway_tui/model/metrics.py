"""The curves of the screen Metrics: samples of all engines and agents, merged by the second. Pure.

A second of which some engines told is the sum of what they told; one of which none told is a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.texts import plural, span
from headway.wire.fleet import AgentsSample
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from headway.wire.events import AgentBeat, Sample
    from headway.wire.fleet import Metrics
    from headway.wire.runs import UsageRow

KEEP = 3600
"""Seconds that are kept while the console is open; engines keep 900."""
WINDOWS = (60, 900, 3600)
SILENT_AFTER = 3.5
"""Seconds without a sample after which an engine has none."""
DEAREST = 4
"""Tasks whose cost is named."""
_DROPS = ("log_lines", "log_lines_dropped", "spans_dropped")


class Curve(NamedTuple):
    """One metric over the window, a value a second."""

    name: str
    now: str
    """The last value, in words."""
    values: list[float | None]
    high: str
    """The greatest value, in words."""
    role: str = "info"


class MetricsView:
    """Samples by engine and second."""

    def __init__(self) -> None:
        self.engines: dict[str, dict[int, Sample]] = {}
        self.agents: dict[int, AgentsSample] = {}
        self.totals = (0, 0, 0)
        """Log lines, those dropped, spans dropped, of the agents heard, since their starts."""
        self.used: list[UsageRow] = []
        """What runs used of language models in the window, by task, the dearest first."""
        self.changed = True
        self._counts: dict[str, tuple[float, ...]] = {}

    def snapshot(self, found: Metrics) -> None:
        """The answer of `metrics`; what was heard meanwhile stays."""
        for engine, samples in found.engines.items():
            told = self.engines.setdefault(engine, {})
            told |= {int(s.at.timestamp()): s for s in samples}
        self.agents |= {int(s.at.timestamp()): s for s in found.agents}
        self.totals = (found.log_lines, found.log_dropped, found.spans_dropped)
        self.changed = True

    def hear(self, engine: str, sample: Sample | None) -> None:
        """A beat of an engine."""
        if sample is not None:
            told = self.engines.setdefault(engine, {})
            told[int(sample.at.timestamp())] = sample
            self.changed = True

    def tick(self, beats: Iterable[AgentBeat], at: datetime) -> None:
        """A second has gone by; `beats`: the last ones of the agents that are heard."""
        second = int(at.timestamp())
        grown = [0.0, 0.0, 0.0]
        totals = [0.0, 0.0, 0.0]
        seen: dict[str, tuple[float, ...]] = {}
        for beat in beats:
            counts = seen[beat.agent] = tuple(beat.counters.get(n, 0.0) for n in _DROPS)
            before = self._counts.get(beat.agent, counts)
            for i, (now, then) in enumerate(zip(counts, before, strict=True)):
                grown[i] += now - then if now >= then else now
                totals[i] += now
        self._counts = seen
        if seen:
            self.agents[second] = AgentsSample(at, *grown)
            self.totals = (int(totals[0]), int(totals[1]), int(totals[2]))
        self._trim(second - KEEP)
        self.changed = True

    def _trim(self, first: int) -> None:
        for told in (*self.engines.values(), self.agents):
            for second in [s for s in told if s < first]:
                del told[second]
        for engine in [e for e, told in self.engines.items() if not told]:
            del self.engines[engine]

    def used_words(self, window: str) -> str:
        """What was used, all together and by the dearest tasks; empty if nobody told of any."""
        if not self.used:
            return ""
        cost = sum(row.cost_usd for row in self.used)
        tokens = sum(row.tokens_in + row.tokens_out for row in self.used)
        runs = sum(row.runs for row in self.used)
        told = f"used in {window}: ${cost:,.2f}, {tokens:,} tokens, {plural(runs, 'run')}"
        by = [f"{safe(row.key, 40)} ${row.cost_usd:,.2f}" for row in self.used[:DEAREST]]
        return f"{told}   {'  '.join(by)}"

    def live(self, now: datetime) -> list[str]:
        """Engines that were heard just now."""
        late = now.timestamp() - SILENT_AFTER
        return sorted(e for e, told in self.engines.items() if told and max(told) >= late)

    def held(self, now: datetime, window: int) -> int:
        """Seconds of the window from the first sample that is known."""
        second = int(now.timestamp())
        firsts = [min(told) for told in (*self.engines.values(), self.agents) if told]
        return min(window, max(0, second - min(firsts) + 1)) if firsts else 0

    def _column(self, field: str, seconds: range, merge: Mapping[str, str]) -> list[float | None]:
        made: list[float | None] = []
        for second in seconds:
            values = [
                v
                for told in self.engines.values()
                if (s := told.get(second)) is not None and (v := getattr(s, field)) is not None
            ]
            whole = max if merge.get(field) == "max" else sum
            made.append(float(whole(values)) if values else None)
        return made

    def curves(self, now: datetime, window: int) -> list[Curve]:
        """The nine of the screen. Of the last seconds some engines may not have told yet."""
        last = int(now.timestamp()) - 1
        seconds = range(last - window + 1, last + 1)

        def of(field: str) -> list[float | None]:
            return self._column(field, seconds, MERGED)

        def agents(field: str) -> list[float | None]:
            told = (self.agents.get(second) for second in seconds)
            return [None if s is None else getattr(s, field) for s in told]

        lines, dropped = agents("log_lines"), agents("log_dropped")
        used, size = of("pool_used"), latest(of("pool_size"))
        pool = latest(used)
        return [
            _rate("started/s", of("started")),
            _rate("failed/s", of("failed"), "bad-soft"),
            _rate("retry/s", of("retried"), "warning"),
            _span("wait p95", of("wait_p95")),
            _span("start p95", of("start_p95")),
            _span("save p95", of("save_p95")),
            _count("nats pend", of("pending")),
            _count("log lines/s", lines, "warning" if any(dropped) else "info"),
            Curve(
                "pg pool",
                "-" if pool is None else f"{pool:.0f}/{size or 0:.0f}",
                used,
                f"{max((v for v in used if v is not None), default=0):.0f}",
            ),
        ]


MERGED = {"wait_p95": "max", "start_p95": "max", "save_p95": "max", "pending": "max"}
"""How engines side by side are merged, where it is not the sum (as `events.Sample` says)."""


def latest(values: list[float | None], within: int = 5) -> float | None:
    """The last value, if it is of the last seconds."""
    return next((v for v in reversed(values[-within:]) if v is not None), None)


def _greatest(values: list[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)


def rate(value: float | None) -> str:
    """`0.05`, `4.2`, `812`."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}" if value >= 1 else (
        f"{value:.2f}"
    )  # fmt: skip


def _rate(name: str, values: list[float | None], role: str = "info") -> Curve:
    # One second by itself says little of a rate.
    lately = [v for v in values[-10:] if v is not None]
    now = sum(lately) / len(lately) if lately else None
    return Curve(name, rate(now), values, rate(_greatest(values)), role)


def _span(name: str, values: list[float | None]) -> Curve:
    def words(value: float | None) -> str:
        return "-" if value is None else span(value)

    return Curve(name, words(latest(values)), values, words(_greatest(values)), "wait")


def _count(name: str, values: list[float | None], role: str = "info") -> Curve:
    def words(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}"

    return Curve(name, words(latest(values)), values, words(_greatest(values)), role)
