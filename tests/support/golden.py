"""Pictures in text that were agreed on; `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import os
from pathlib import Path

SCREENS = Path(__file__).parents[1] / "tui" / "golden"
SIZES = [(120, 40), (80, 24)]


def agreed(name: str, size: tuple[int, int], text: str) -> None:
    """What a screen shows in a size."""
    file = SCREENS / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
