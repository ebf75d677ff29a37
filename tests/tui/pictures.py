"""PNGs of every screen, for people: `PYTHONPATH=tests python tests/tui/pictures.py FOLDER`.

With `--readme` instead of a folder: those in the documentation, `.github/console.png` and
`.github/sites.png`. `terminal.svg` there is made by `terminal_picture.py`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from headway.wire.events import Span, SpanChunk
from support.boards import open_metrics, open_queues
from support.consoles import T0, console, open_run, show
from support.replay_facts import open_replay
from support.screens import picture_of
from support.site_facts import open_sites

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
            await open_sites(app, pilot)
            picture_of(app, folder / f"sites-{end}")
        async with console(size) as (app, pilot):
            await open_replay(app, pilot)
            picture_of(app, folder / f"replay-{end}")
    for theme in THEMES:
        async with console(theme=theme) as (app, pilot):
            await open_run(app, pilot)
            await show(app, pilot)
            picture_of(app, folder / f"{theme}.png")


README = Path(__file__).parents[2] / ".github" / "console.png"
SITES = README.with_name("sites.png")


async def draw_sites() -> None:
    """A hub's list, one of its two sites cut off."""
    async with console((112, 24)) as (app, pilot):
        await open_sites(app, pilot)
        picture_of(app, SITES)
    Image.open(SITES).quantize(48).save(SITES, optimize=True)


async def draw_readme() -> None:
    """One run, with the spans of its libraries."""
    async with console((112, 38)) as (app, pilot):
        screen = await open_run(app, pilot)
        screen.timeline.add_spans(1, chunk(
            span(3, 1.4, 2.1, "GET search", 0, attributes={"http.response.status_code": 200}),
            span(2, 2.3, 7.6, "chat large", 1, attributes={"gen_ai.usage.input_tokens": 812}),
            span(1, 0.5, 8.0, "step('generate-text')", 0, scope="headway"),
        ))  # fmt: skip
        screen.timeline.add_spans(3, chunk(span(4, 247, 251.5, "chat large", 0, error="429")))
        screen.waterfall.touch()
        await show(app, pilot)
        picture_of(app, README)
    Image.open(README).quantize(48).save(README, optimize=True)


def chunk(*spans: Span) -> SpanChunk:
    """Of one attempt."""
    return SpanChunk(1, list(spans), T0)


def span(
    number: int,
    start: float,
    end: float,
    name: str,
    under: int,
    *,
    scope: str = "library",
    error: str = "",
    attributes: dict[str, Any] | None = None,
) -> Span:
    """Seconds after the run's beginning."""
    begin = int(T0.timestamp()) * 10**9
    return Span(
        "a" * 32, f"{number:016x}", name, begin + int(start * 1e9), begin + int(end * 1e9),
        parent=f"{under:016x}" if under else "", scope=scope, attributes=attributes or {},
        status="error" if error else "unset", message=error,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["--readme"]:
        asyncio.run(draw_readme())
        asyncio.run(draw_sites())
        sys.exit()
    asyncio.run(draw(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")))
