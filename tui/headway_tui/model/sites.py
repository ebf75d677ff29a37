"""The sites of a hub in one line: which are cut off, how old what is known is, what waits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from headway.looks import MARKS
from headway.texts import age, plural
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.sites import SiteRow

Piece = tuple[str, str]
"""(text, role)."""


def cut_off(rows: Sequence[SiteRow]) -> frozenset[str]:
    """Sites of which nothing new is known: what is shown of their runs is old."""
    return frozenset(row.site for row in rows if not row.linked or row.problem)


def sites_line(
    rows: Sequence[SiteRow], now: datetime, width: int, *, ascii_only: bool = False
) -> list[Piece]:
    """Those in trouble first, at length; the others by name as far as there is room."""
    pieces: list[Piece] = [(" sites  ", "muted")]
    left = width - len(pieces[0][0])
    told = sorted(rows, key=lambda row: (row.linked and not row.problem, row.site))
    for number, row in enumerate(told):
        rest = len(told) - number - 1
        piece = _site(row, now, wide=width >= 100, ascii_only=ascii_only)
        more = len(f"and {rest} more") if rest else 0
        if cell_len(piece[0]) + more > left and number:
            pieces.append((f"and {rest + 1} more", "muted"))
            break
        left -= cell_len(piece[0])
        pieces.append(piece)
    return pieces


def _site(row: SiteRow, now: datetime, *, wide: bool, ascii_only: bool) -> Piece:
    name = safe(row.site, 24)
    waits = ""
    if row.waiting:
        oldest = f", the oldest {age(row.waiting_since, now)}" if row.waiting_since else ""
        waits = f", {plural(row.waiting, 'command')} wait{'s' if row.waiting == 1 else ''}"
        waits += oldest if wide else ""
    if row.problem:
        return f"! {name} is not followed: {safe(row.problem, 60)}{waits}   ", "bad"
    if row.linked:
        behind = f", {row.behind:,} behind" if row.behind else ""
        behind += f", {plural(row.skipped, 'message')} skipped" if row.skipped else ""
        role = "warning" if row.skipped else "good"
        return f"{MARKS['live'][ascii_only]} {name} live{behind}{waits}   ", role
    sign = MARKS["cut off"][ascii_only]
    if row.contact_at is None:
        return f"{sign} {name} never heard of{waits}   ", "warning"
    since = f" {age(row.contact_at, now)}"
    known = f", known as of {age(row.as_of, now)} ago" if row.as_of and wide else ""
    return f"{sign} {name} cut off{since}{known}{waits}   ", "warning"
