"""Texts for cells: made safe, cut and padded by cell width. Pure."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from headway.safe import safe_line

LINE_LIMIT = 1000
"""Characters of one line that are shown; what is longer is cut."""


def fit(text: str, width: int, cut: str = "…") -> str:
    """The text in exactly `width` cells: padded, or cut with a sign at its end."""
    if text.isascii() and len(text) <= width:
        return text.ljust(width)
    have = cell_len(text)
    if have <= width:
        return text + " " * (width - have)
    if width <= 0:
        return ""
    return set_cell_size(text, width - 1) + cut


def right(text: str, width: int) -> str:
    """The text at the right end of `width` cells; cut where it is too long."""
    gap = width - cell_len(text)
    return " " * gap + text if gap >= 0 else fit(text, width)


def safe(text: object, limit: int = LINE_LIMIT) -> str:
    """Any foreign value as one line that is safe to paint."""
    return safe_line(text if isinstance(text, str) else str(text), limit)
