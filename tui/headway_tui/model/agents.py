"""The agents as the console knows them: rows of the engine, and what each says by itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from headway.wire.events import AgentBeat
    from headway.wire.fleet import AgentRow

SILENT_AFTER = 3.0
"""Seconds without a beat after which an agent is silent; lost it is when its lease is over."""
SORTS = ("name", "slots", "cpu")
"""Orders of the list."""


class AgentLine(NamedTuple):
    """One agent, merged: what a row shows."""

    row: AgentRow
    beat: AgentBeat | None
    age: float | None
    """Seconds since its last beat; None = none was heard here."""

    @property
    def name(self) -> str:
        """Of the agent."""
        return self.row.agent

    @property
    def state(self) -> str:
        """`lost`, `silent`, `drain`, `degraded` or `ok`."""
        if not self.row.alive:
            return "lost"
        if self.age is not None and self.age > SILENT_AFTER:
            return "silent"
        if self.row.drain or (self.beat is not None and self.beat.draining):
            return "drain"
        if self.row.degraded or (self.beat is not None and self.beat.degraded):
            return "degraded"
        return "ok"

    @property
    def fresh(self) -> AgentBeat | None:
        """Its last beat, while it is heard."""
        return self.beat if self.state not in {"lost", "silent"} else None

    @property
    def open(self) -> int:
        """Attempts that it has in hand."""
        return self.row.open if self.fresh is None else self.fresh.open

    @property
    def used(self) -> int:
        """Slots that are taken."""
        beat = self.fresh
        free = None if beat is None else beat.free if self.row.slots else beat.shared_free
        return self.open if free is None else max(0, self.slots - free)

    @property
    def takes(self) -> bool:
        """Does it take new runs?"""
        return self.state == "ok"

    @property
    def slots(self) -> int:
        """Attempts that it may have at once: where it has both kinds, those of their own."""
        return self.row.slots or self.row.shared_slots

    @property
    def version(self) -> str:
        """Of its program."""
        return self.beat.version if self.beat is not None else self.row.version

    def note(self, shift: timedelta) -> str:
        """What to know; `shift`: from UTC to the reader's time of day."""
        row = self.row
        if self.state == "lost":
            return f"{row.open} runs go elsewhere" if row.open else "its lease is over"
        if self.state == "silent":
            return "no beat: its runs go on until its lease ends"
        if row.drain:
            what = "gives its runs back" if row.drain == "now" else "drained"
            who = f" by {row.drain_by.removeprefix('user:')}" if row.drain_by else ""
            at = f" {row.drain_at + shift:%H:%M}" if row.drain_at is not None else ""
            why = f' "{row.drain_reason}"' if row.drain_reason else ""
            return f"{what}{who}{at}{why}"
        beat = self.fresh
        if beat is not None and beat.degraded:
            return beat.degraded
        if row.degraded:
            return row.degraded
        dropped = int(beat.counters.get("log_lines_dropped", 0)) if beat is not None else 0
        return f"{dropped:,} log lines dropped" if dropped else ""


class AgentsView:
    """Rows by name; beats are the link's, which hears them for the header as well."""

    def __init__(self) -> None:
        self.rows: dict[str, AgentRow] = {}
        self.sort = SORTS[0]
        self.changed = True
        self._seen: frozenset[tuple[str, bool, str]] = frozenset()

    def snapshot(self, rows: Iterable[AgentRow]) -> None:
        """The answer of `agents`."""
        self.rows = {row.agent: row for row in rows}
        self.changed = True

    def answered(self, row: AgentRow) -> None:
        """What `agent-drain` says that the agent is now."""
        self.rows[row.agent] = row
        self.changed = True

    def stirred(self, beats: Mapping[str, tuple[AgentBeat, float]], now: float) -> bool:
        """Is somebody new, gone silent, draining or not any more? Then the engine knows more."""
        seen = frozenset(
            (name, beat.draining, beat.degraded)
            for name, (beat, at) in beats.items()
            if now - at <= SILENT_AFTER
        )
        stirred, self._seen = seen != self._seen, seen
        return stirred

    def unsettled(self, beats: Mapping[str, tuple[AgentBeat, float]], now: float) -> bool:
        """Is there one that is silent and not lost yet? Its lease will end without a word."""
        return any(line.state == "silent" for line in self.lines(beats, now))

    def lines(self, beats: Mapping[str, tuple[AgentBeat, float]], now: float) -> list[AgentLine]:
        """All agents in the order that was chosen; `now` as the times of the beats."""
        found: list[AgentLine] = []
        for row in self.rows.values():
            beat, at = beats.get(row.agent, (None, 0.0))
            found.append(AgentLine(row, beat, None if beat is None else max(0.0, now - at)))
        return sorted(found, key=lambda line: (_weight(line, self.sort), line.name))


def _weight(line: AgentLine, sort: str) -> float:
    if sort == "slots":
        return -line.used / max(1, line.slots)
    if sort == "cpu":
        beat = line.fresh
        return -(beat.cpu or 0.0) if beat is not None else 1.0
    return 0.0
