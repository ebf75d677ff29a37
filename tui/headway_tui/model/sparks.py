"""Numbers as small pictures: curves in one line or several, bars. Pure.

Each sign is one cell wide. A gap (None) stays blank: what was not heard is not drawn as nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = "▁▂▃▄▅▆▇█"
ASCII_STEPS = "_.-=+*%#"


def squeeze(values: Sequence[float | None], width: int) -> list[float | None]:
    """So many values: the greatest of each stretch, so that no peak is lost; gaps before them."""
    if width <= 0:
        return []
    if len(values) <= width:
        return [None] * (width - len(values)) + list(values)
    made: list[float | None] = []
    for i in range(width):
        part = values[i * len(values) // width : (i + 1) * len(values) // width]
        made.append(max((v for v in part if v is not None), default=None))
    return made


def spark(
    values: Sequence[float | None], width: int, *, ascii_only: bool = False, top: float = 0.0
) -> str:
    """A curve in one line from zero up to the greatest value, or to `top` if that is more."""
    return chart(values, width, 1, ascii_only=ascii_only, top=top)[0]


def chart(
    values: Sequence[float | None],
    width: int,
    height: int,
    *,
    ascii_only: bool = False,
    top: float = 0.0,
) -> list[str]:
    """A curve of so many lines, the highest first."""
    steps = ASCII_STEPS if ascii_only else STEPS
    shown = squeeze(values, width)
    high = max([top, *(v for v in shown if v is not None)], default=0.0)
    rows: list[str] = []
    for line in range(height - 1, -1, -1):
        cells: list[str] = []
        for value in shown:
            if value is None:
                cells.append(" ")
                continue
            level = round(value / high * height * len(steps)) if high > 0 else 0
            # Nothing is a line at the bottom, and so is anything however little.
            inside = max(level, 1) - line * len(steps)
            cells.append(" " if inside <= 0 else steps[min(inside, len(steps)) - 1])
        rows.append("".join(cells))
    return rows


def bar(share: float | None, width: int, *, ascii_only: bool = False) -> str:
    """A share (0 to 1) of so many cells; any share but none fills one."""
    if share is None:
        return " " * width
    full, empty = ("#", ".") if ascii_only else ("█", "░")
    cells = round(min(1.0, max(0.0, share)) * width)
    if share > 0:
        cells = max(1, cells)
    return full * cells + empty * (width - cells)
