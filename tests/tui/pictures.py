"""PNGs of every screen, for people: `PYTHONPATH=tests python tests/tui/pictures.py FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from support.boards import open_metrics, open_queues
from support.consoles import console, open_run, show
from support.replay_facts import open_replay
from support.screens import picture_of

SIZES = [(120, 40), (80, 24)]
THEMES = ("headway-dark", "headway-light", "headway-cb", "headway-mono")


async def draw(folder: Path) -> None:
    """All screens in both sizes, and the list in each theme."""
    for size in SIZES:
        end = f"{size[0]}x{size[1]}.png"
        async with console(size) as (app, pilot):
            picture_of(app, folder / f"runs-{end}")
            await pilot.press("c")
            await pilot.pause()
            picture_of(app, folder / f"sheet-{end}")
            await pilot.press("escape")
            await open_run(app, pilot)
            picture_of(app, folder / f"run-{end}")
            await pilot.press("question_mark")
            await pilot.pause()
            picture_of(app, folder / f"help-{end}")
            await pilot.press("escape")
            await open_queues(app, pilot)
            picture_of(app, folder / f"queues-{end}")
            await open_metrics(app, pilot)
            picture_of(app, folder / f"metrics-{end}")
        async with console(size) as (app, pilot):
            await open_replay(app, pilot)
            picture_of(app, folder / f"replay-{end}")
    for theme in THEMES:
        async with console(theme=theme) as (app, pilot):
            await open_run(app, pilot)
            await show(app, pilot)
            picture_of(app, folder / f"{theme}.png")


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")))
