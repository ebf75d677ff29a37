"""A bundle in the console: the same screens, nothing live, nothing written, no server asked."""

from __future__ import annotations

import time

import pytest

from headway.wire import ErrorInfo
from headway_tui.screens.runs import RunsScreen
from support import bundled as b
from support.consoles import show
from support.goldens import SIZES, agreed
from support.offlines import offline
from support.screens import text_of


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


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
