"""How a queue and an agent look as rows of a table, in each width."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.texts import size, span
from headway_tui.model.sparks import bar, spark
from headway_tui.model.texts import safe
from headway_tui.widgets.table import Cell, Column

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from headway_tui.model.agents import AgentLine
    from headway_tui.model.queues import QueueLine

QUEUES_WIDE = (
    Column(" ", 1), Column("QUEUE", 14), Column("STATE", 8), Column("WAIT", 6, True),
    Column("RUN/LIMIT", 9, True), Column("OLDEST", 7, True), Column("IN/s", 6, True),
    Column("OUT/s", 6, True), Column("1m", 10), Column("WAIT p95", 8, True), Column("NOTE", 0),
)  # fmt: skip
QUEUES_SMALL = (
    Column(" ", 1), Column("QUEUE", 11), Column("STATE", 7), Column("WAIT", 5, True),
    Column("RUN/LIM", 7, True), Column("OLDEST", 6, True), Column("1m", 8),
    Column("p95", 6, True), Column("NOTE", 0),
)  # fmt: skip
QUEUES_NARROW = (
    Column(" ", 1), Column("QUEUE", 11), Column("STATE", 7), Column("WAIT", 5, True),
    Column("RUN/LIM", 0),
)  # fmt: skip
AGENTS_WIDE = (
    Column(" ", 1), Column("AGENT", 13), Column("STATE", 8), Column("SLOTS", 12),
    Column("CPU", 12), Column("MEM", 15), Column("RUNNERS", 7, True), Column("BEAT", 5, True),
    Column("VERSION", 7), Column("NOTE", 0),
)  # fmt: skip
AGENTS_SMALL = (
    Column(" ", 1), Column("AGENT", 12), Column("STATE", 8), Column("SLOTS", 12),
    Column("CPU", 5, True), Column("MEM", 8, True), Column("BEAT", 6, True), Column("NOTE", 0),
)  # fmt: skip
AGENTS_NARROW = (
    Column(" ", 1), Column("AGENT", 12), Column("STATE", 8), Column("SLOTS", 0),
)  # fmt: skip
BUSY = 0.9
"""From this share on a bar is a warning."""
METER = 6
"""Cells of a bar."""

_QUEUE_LOOKS = {
    "ok": ("●", "*", "ok", "good"),
    "full": ("●", "*", "full", "warning"),
    "pause": ("‖", "=", "pause", "warning"),
    "alone": ("✗", "x", "alone", "bad"),
}
_AGENT_LOOKS = {
    "ok": ("●", "*", "ok", "good"),
    "drain": ("◌", "z", "drain", "warning"),
    "degraded": ("⚑", "?", "degr.", "bad-soft"),
    "silent": ("○", "o", "silent", "warning"),
    "lost": ("✗", "x", "lost", "bad"),
}


class Looking(NamedTuple):
    """How rows are to be drawn now."""

    now: datetime
    """By the store's clock."""
    shift: timedelta
    """From UTC to the reader's time of day."""
    ascii_only: bool = False
    stale: bool = False
    """Nothing is heard: what is shown may be old."""


def _state(look: tuple[str, str, str, str], how: Looking) -> Cell:
    return Cell(f"{look[how.ascii_only]} {look[2]}", look[3])


def _shown(cells: list[Cell], how: Looking) -> list[Cell]:
    return [Cell(cell.text, "muted") for cell in cells] if how.stale else cells


def queue_cells(line: QueueLine, count: int, how: Looking) -> list[Cell]:
    """A row of so many columns, without the one of the cursor."""
    row = line.row
    oldest = line.oldest(how.now)
    open_ = Cell(f"{row.open}/{row.limit or '-'}", "warning" if line.state == "full" else "text")
    cells = [
        Cell(safe(row.queue, 64)),
        _state(_QUEUE_LOOKS[line.state], how),
        Cell(f"{line.waiting:,}", "text" if line.waiting else "muted"),
        open_,
    ]
    if count == len(QUEUES_NARROW):
        return _shown(cells, how)
    p95 = Cell("-" if line.wait_p95 is None else span(line.wait_p95), "wait")
    note = Cell(safe(line.note(how.shift), 200), _QUEUE_LOOKS[line.state][3])
    if line.state == "ok":
        note = Cell(note.text, "muted")
    cells.append(Cell("-" if oldest is None else span(oldest), "text" if oldest else "muted"))
    curve = spark(line.depth, 8 if count == len(QUEUES_SMALL) else 10, ascii_only=how.ascii_only)
    if count == len(QUEUES_SMALL):
        return _shown([*cells, Cell(curve, "info"), p95, note], how)
    rates = [Cell(f"{line.came:.1f}", "muted"), Cell(f"{line.went:.1f}", "muted")]
    return _shown([*cells, *rates, Cell(curve, "info"), p95, note], how)


def _meter(share: float | None, words: str, how: Looking) -> Cell:
    if share is None:
        return Cell("-", "muted")
    role = "warning" if share >= BUSY else "info"
    return Cell(f"{bar(share, METER, ascii_only=how.ascii_only)} {words}", role)


def agent_cells(line: AgentLine, count: int, how: Looking) -> list[Cell]:
    """A row of so many columns, without the one of the cursor."""
    look = _AGENT_LOOKS[line.state]
    cells = [Cell(safe(line.name, 64)), _state(look, how)]
    beat = line.fresh
    if line.state == "lost":
        slots = Cell("-", "muted")
    else:
        share = line.used / line.slots if line.slots else 0.0
        text = bar(share, METER - (count == len(AGENTS_SMALL)), ascii_only=how.ascii_only)
        role = "warning" if share >= 1 else "info"
        slots = Cell(f"{text} {line.used}/{line.slots}", role)
    cells.append(slots)
    if count == len(AGENTS_NARROW):
        return _shown(cells, how)
    cpu = beat.cpu if beat is not None else None
    part = f"{cpu * 100:3.0f} %" if cpu is not None else ""
    memory = beat.memory if beat is not None else 0
    age = Cell("-" if line.age is None else span(line.age), "muted")
    note = Cell(safe(line.note(how.shift), 200), "muted" if line.state == "ok" else look[3])
    if count == len(AGENTS_SMALL):
        used = Cell(size(memory).replace(" ", "") if memory else "-", "muted")
        return _shown([*cells, Cell(part.strip() or "-", "muted"), used, age, note], how)
    total = beat.memory_total if beat is not None else 0
    cells += [
        _meter(cpu, part, how),
        _meter(memory / total if total else None, size(memory), how),
        Cell("-" if beat is None else str(beat.containers), "muted"),
        age,
        Cell(safe(line.version, 16) or "-", "muted"),
        note,
    ]
    return _shown(cells, how)


def agent_facts(line: AgentLine, how: Looking) -> list[str]:
    """All that is known of an agent; its own log is where it runs."""
    row, beat = line.row, line.fresh
    facts = [
        f"state     {line.state}   session {row.session}   lease until"
        f" {row.lease_until + how.shift:%H:%M:%S}",
        f"host      {row.host}   runtime {row.runtime}   version {line.version or '?'}",
        f"queues    {', '.join(row.queues)}",
        f"slots     {row.slots} of their own, {row.shared_slots} shared; open {line.open}",
        f"versions  {', '.join(row.versions) or 'none that needs an image'}",
    ]
    if note := line.note(how.shift):
        facts.append(f"note      {note}")
    if beat is not None:
        used = "?" if beat.cpu is None else f"{beat.cpu * 100:.0f} %"
        facts += [
            f"host now  CPU {used}, memory {size(beat.memory)} of {size(beat.memory_total)},"
            f" {beat.containers} runners, {beat.warm} of them warm",
            "",
            "counted since its start:",
            *(f"  {name:<20}{value:,.0f}" for name, value in sorted(beat.counters.items())),
        ]
    facts += [
        "",
        "What its tasks write is in the runs (enter). What it writes itself stays on its host:",
        "  journalctl -u headway-agent        as a service",
        "  docker logs CONTAINER              in a container",
    ]
    return [safe(fact, 200) for fact in facts]
