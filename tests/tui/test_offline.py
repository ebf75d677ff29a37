"""A bundle in the console: the same screens, nothing live, nothing written, no server asked."""

from __future__ import annotations

import io
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from headway.bundle import Bundle
from headway.config import Settings
from headway.wire import ErrorInfo
from headway_tui.app import HeadwayApp, Options
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from support import bundled as b
from support.consoles import show
from support.goldens import SIZES, agreed
from support.screens import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@asynccontextmanager
async def offline(
    data: bytes, size: tuple[int, int] = (120, 40)
) -> AsyncGenerator[tuple[HeadwayApp, Any, RunScreen]]:
    """The console on a bundle, all of its run read."""
    bundle = Bundle(io.BytesIO(data))
    app = HeadwayApp(Options(Settings(), readonly=True, run=b.RUN, bundle=bundle))
    app.paused = True
    async with app.run_test(size=size) as pilot:
        end = time.monotonic() + 20
        while True:
            screen = app.screen
            if isinstance(screen, RunScreen) and screen.detail and screen.number:
                store = screen.logs.store
                if screen.timeline.events and store.received and "new" in screen.state.bodies:
                    break
            assert time.monotonic() < end, text_of(app)
            await pilot.pause(0.02)
        await show(app, pilot)
        yield app, pilot, screen


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_bundle_looks_like_any_run(size: tuple[int, int]) -> None:
    async with offline(b.packed(), size) as (app, pilot, screen):
        assert screen.logs.store.received == 3
        assert [e.n for e in screen.timeline.events.values()] == list(range(1, 10))
        agreed("offline", size, app)
        await pilot.press("escape")
        runs = app.screen
        assert isinstance(runs, RunsScreen)
        while not runs.view.order:
            await pilot.pause(0.02)
        assert runs.view.order == [b.RUN]


async def test_nothing_is_written() -> None:
    async with offline(b.packed()) as (app, pilot, _):
        await pilot.press("c")
        await show(app, pilot)
        assert "not done: this is an offline bundle" in text_of(app)


async def test_checkpoints_are_walked_through() -> None:
    async with offline(b.packed()) as (_, pilot, screen):
        assert screen.number == 2
        await pilot.press("left_square_bracket")
        await pilot.pause(0.1)
        assert screen.number == 1


async def test_hostile_text_steers_nothing() -> None:
    hostile = "\x1b]52;c;eA==\x07\u202e\x9b31m" + "x" * 400
    made = b.row(tags=(hostile,), error=ErrorInfo(hostile, hostile, hostile))
    made.task = made.queue = made.agent = made.version = hostile
    data = b.packed(b.members(made=made), b.manifest(by=hostile, server=hostile))
    async with offline(data) as (app, _, _):
        text = text_of(app)
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)
        assert "offline bundle" in text
