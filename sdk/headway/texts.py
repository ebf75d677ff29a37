"""Short texts of numbers for people, the same in console and command line: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.runs import RunRow


def span(seconds: float) -> str:
    """A duration in at most 7 cells: `0.4ms`, `412ms`, `11.9s`, `4m12s`, `3h05m`, `2d04h`."""
    if seconds < 0:
        return "0.0s"
    if 0 < seconds < 0.00005:
        return "<0.1ms"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def lasted(row: RunRow, until: datetime) -> float | None:
    """Seconds that a run took, or takes `until` now; None: it has not begun.

    The start of a short run gets to the engine with its end, in one commit: then it is counted from
    when its agent took it. Not from when it was made: it may have been queued for hours.
    """
    began = row.started_at
    if began is None:
        return None
    if began == row.ended_at:
        began = row.claimed_at or began
    return ((row.ended_at or until) - began).total_seconds()


def took(row: RunRow, now: datetime) -> str:
    """How long a run took, or takes, in at most 7 cells; `-`: it has not begun."""
    seconds = lasted(row, now)
    return "-" if seconds is None else span(seconds)


def tries(row: RunRow, between: str = "/") -> str:
    """`2/5`, or `2`: a hub, or a dump that is played, does not know how many a run may have."""
    return f"{row.attempt}{between}{row.max_attempts}" if row.max_attempts else str(row.attempt)


def size(count: float) -> str:
    """Bytes in at most 8 cells: `812 B`, `18.2 KiB`, `732 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.0f} GiB" if count >= 100 else f"{count:.1f} GiB"


def age(at: datetime | None, now: datetime) -> str:
    """How long ago in at most 4 cells: `12s`, `4m`, `3h`, `2d`."""
    if at is None:
        return "-"
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def clock(at: datetime) -> str:
    """Local time of day to the millisecond: 12 cells."""
    local = at.astimezone()
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def plural(count: int, word: str) -> str:
    """`1 run`, `2 runs`, `1,204 runs`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
