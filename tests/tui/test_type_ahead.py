"""Keys that come faster than a line is entered: they mean what they would have meant later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from textual import events

from support.consoles import console, show
from support.replay_facts import open_replay
from support.screens import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from headway_tui.app import HeadwayApp

NAMES = {"\r": "enter", "\x1b": "escape", " ": "space", ":": "colon"}


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.chdir(tmp_path)


async def typed(app: HeadwayApp, pilot: Any, keys: str) -> None:
    """All at once, as a paste or a slow link brings them."""
    for key in keys:
        app.post_message(events.Key(NAMES.get(key, key), key if key.isprintable() else None))
    await pilot.pause(0.1)
    await show(app, pilot)


async def test_what_follows_an_entered_field_moves_on_in_the_form() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        had = screen.draft.script.replay.mode
        await typed(app, pilot, "\rstatus:failed task:x\rj ")
        assert screen.draft.script.select.query == "status:failed task:x"
        assert screen.draft.script.replay.mode != had
        assert screen.form.cursor == 1


async def test_what_follows_a_field_that_was_left_is_no_part_of_it() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        before = screen.draft.script
        await typed(app, pilot, "\rnonsense\x1bjj")
        assert screen.draft.script is before
        assert screen.form.cursor == 2


async def test_several_lines_at_once_are_entered_one_after_the_other() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        await typed(app, pilot, "\rstatus:dead\r\rtask:y\rj")
        assert screen.draft.script.select.query == "task:y"
        assert screen.form.cursor == 1


async def test_what_follows_a_command_goes_to_the_list() -> None:
    async with console() as (app, pilot):
        await typed(app, pilot, ":version\rjj")
        table = app.screen_stack[0].query_one("#table")
        assert getattr(table, "cursor", 0) == 2
        assert "console " in text_of(app)


async def test_a_filter_that_is_wrong_stays_open_for_what_follows() -> None:
    async with console() as (app, pilot):
        await typed(app, pilot, "/x:y\rz")
        screen: Any = app.screen_stack[0]
        assert screen.filter.has_focus
        assert screen.filter.value == "x:yz"
