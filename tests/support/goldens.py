"""Screens as they were agreed on. `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.screens import roles_of, text_of

if TYPE_CHECKING:
    from textual.app import App

GOLDEN = Path(__file__).parents[1] / "tui" / "golden"
SIZES = [(120, 40), (80, 24)]


def agreed(name: str, size: tuple[int, int], app: App[Any]) -> None:
    """The screen of this name and size: its text, and the roles of its colours beside it."""
    for end, text in (("txt", text_of(app)), ("roles", roles_of(app))):
        file = GOLDEN / f"{name}-{size[0]}x{size[1]}.{end}"
        if os.environ.get("WRITE_GOLDEN"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        assert text == file.read_text()
