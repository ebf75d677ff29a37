"""The screen of dead letters and reviews on recorded facts, for pictures and keys."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from headway.wire.runs import OpenMark, Review, RunRow
from headway.wire.steering import DeadClass, DeadPage
from headway_tui.screens.dead import DeadScreen
from support.consoles import NOW, RUN, T0, console, show

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_tui.app import HeadwayApp

TOKEN = "5f6c8d1b-7e21-5a0e-9c1f-3b2a1c0d9e8f"


def classes() -> list[DeadClass]:
    """Three kinds of failure."""
    ago = NOW - timedelta(hours=2)
    return [
        DeadClass("RateLimitError", "research-agent", 97, ago, NOW - timedelta(seconds=12), RUN, 1,
                  7, "iteration-6", "429 from llm: wait a while"),
        DeadClass("OOMKilled", "research-agent", 21, ago, NOW - timedelta(seconds=41),
                  RUN[:24] + "01", 1, 2, "iteration-1", "2 GiB"),
        DeadClass("KeyError", "crawl", 1, ago, ago, RUN[:24] + "02", 3, 0, "", "\x1b[2Jtopic"),
    ]  # fmt: skip


def reviews() -> list[RunRow]:
    """Interrupted blocks, one with an older attempt that may run; a state that does not fit."""
    mark = OpenMark("send-email", TOKEN, 2, "started")
    at = T0 + timedelta(seconds=30)
    return [
        RunRow(RUN[:24] + "10", "research-agent", "review", "agents", T0, n=9, reason="once",
               review=Review(at, "once('send-email') was interrupted", (mark,), (1,))),
        RunRow(RUN[:24] + "11", "pay", "review", "agents", T0, n=4, reason="once",
               review=Review(NOW - timedelta(seconds=50), "once('pay') is open at the end",
                             (OpenMark("pay", TOKEN, 1, "interrupted"),))),
        RunRow(RUN[:24] + "12", "digest", "review", "agents", T0, n=4, reason="state",
               review=Review(NOW - timedelta(seconds=5), "the saved state is no Notes")),
    ]  # fmt: skip


@asynccontextmanager
async def dead_console(
    size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncGenerator[tuple[HeadwayApp, Any, DeadScreen]]:
    """The app with the screen open, both panes filled."""
    async with console(size, **options) as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, DeadScreen)
        screen.now = lambda: NOW
        assert screen.feed is not None
        screen.feed.loading = False
        screen.view.take_classes(DeadPage(classes(), NOW, 119))
        screen.view.take_reviews(reviews(), whole=True)
        await show(app, pilot)
        yield app, pilot, screen
