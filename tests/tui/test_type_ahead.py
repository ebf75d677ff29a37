"""Keys that come faster than a line is entered: they mean what they would have meant later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from textual import events

from headway.config import Settings
from headway.wire.api import Done
from headway_tui.app import HeadwayApp, Options
from headway_tui.model import drafts
from headway_tui.screens.metrics import MetricsScreen
from headway_tui.screens.run import RunScreen
from headway_tui.sheets import Decide
from support.consoles import RUN, console, show
from support.replay_facts import open_replay
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = {
    "\x15": "ctrl+u",
    "\x08": "backspace",
    "\r": "enter",
    "\x1b": "escape",
    " ": "space",
    ":": "colon",
}


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.chdir(tmp_path)


async def typed(app: HeadwayApp, pilot: Any, keys: str, done: Callable[[], object]) -> None:
    """All at once, as a paste or a slow link brings them; `done` says what comes of it."""
    for key in keys:
        app.post_message(events.Key(NAMES.get(key, key), key if key.isprintable() else None))
    await until(done, 20)
    await show(app, pilot)


async def test_what_follows_an_entered_field_moves_on_in_the_form() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        had = screen.draft.script.replay.mode
        await typed(
            app, pilot, "\rstatus:failed task:x\rj ", lambda: screen.draft.script.replay.mode != had
        )
        assert screen.draft.script.select.query == "status:failed task:x"
        assert screen.form.cursor == 1


async def test_what_edits_a_line_does_so_before_what_is_typed_behind_it() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g", "j")
        await pilot.press("k")
        await typed(app, pilot, "\rwrong\x15task:xz\x08\rjjj", lambda: screen.form.cursor == 3)
        assert screen.draft.script.select.query == "task:x"
        # Nor does a key that came late mean what it would mean outside of the line.
        await typed(app, pilot, "j\r\x15model = 1\rjjjj\r", lambda: screen.field.display)
        assert screen.form.cursor == 8
        assert drafts.text_of(screen.draft, "state") == '{"model": 1}'


async def test_what_follows_a_field_that_was_left_is_no_part_of_it() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        before = screen.draft.script
        await typed(app, pilot, "\rnonsense\x1bjj", lambda: screen.form.cursor == 2)
        assert screen.draft.script is before


async def test_several_lines_at_once_are_entered_one_after_the_other() -> None:
    async with console() as (app, pilot):
        screen = await open_replay(app, pilot)
        await pilot.press("1", "g", "g")
        await typed(app, pilot, "\rstatus:dead\r\rtask:y\rj", lambda: screen.form.cursor == 1)
        assert screen.draft.script.select.query == "task:y"


async def test_what_follows_a_command_goes_to_the_list() -> None:
    async with console() as (app, pilot):
        table: Any = app.screen_stack[0].query_one("#table")
        await typed(app, pilot, ":version\rjj", lambda: table.cursor == 2)
        assert "console " in text_of(app)


async def test_a_filter_that_is_wrong_stays_open_for_what_follows() -> None:
    async with console() as (app, pilot):
        screen: Any = app.screen_stack[0]
        await typed(app, pilot, "/x:y\rz", lambda: screen.filter.value == "x:yz")
        assert screen.filter.has_focus


async def test_what_follows_the_opening_of_a_screen_is_for_that_screen() -> None:
    async with console() as (app, pilot):
        screen = RunScreen(RUN, app.link)
        app.push_screen(screen)
        for key in ("tab", "tab"):
            await app.on_event(events.Key(key, None))
        assert not screen.is_mounted
        await until(lambda: screen.focused is screen.state, 20)
        await typed(app, pilot, "4\x1b5", lambda: isinstance(app.screen, MetricsScreen))


async def test_nobody_answers_a_sheet_that_he_has_not_seen() -> None:
    async with console() as (app, pilot):
        await typed(app, pilot, ":cancel\r\r", lambda: isinstance(app.screen, Decide))
        await pilot.pause()
        assert isinstance(app.screen, Decide)
        assert "1 run on" in text_of(app)


async def test_a_key_before_the_first_paint_keeps_nobody_from_connecting() -> None:
    app = HeadwayApp(Options(Settings(nats_url="nats://127.0.0.1:1")))
    async with app.run_test(size=(120, 40)):
        app.push_screen(MetricsScreen())  # the screen that was to be painted first is covered
        await until(lambda: app.link.tries > 0, what="a try to connect")


async def test_a_sheet_that_is_answered_twice_at_once_is_answered_once() -> None:
    async with console() as (app, pilot):
        link: Any = app.link

        def tag(_: object) -> Done:
            return Done(RUN, "ok", "running")

        link.answers["tag"] = tag
        for keys in ("+a\r\r", "\r+b\r\r\r"):
            await pilot.press("t")
            await until(lambda: isinstance(app.screen, Decide), 20)
            before = len(link.asked)
            await typed(app, pilot, keys, lambda n=before: "tag" in dict(link.asked[n:]))
            assert [verb for verb, _ in link.asked[before:]].count("tag") == 1
            assert app.screen is app.screen_stack[0]


@pytest.mark.parametrize("keys", ["?\x1b\x1b", "?qq"])
async def test_help_that_is_left_twice_at_once_leaves_the_list_where_it_is(keys: str) -> None:
    async with console() as (app, pilot):
        table: Any = app.screen_stack[0].query_one("#table")
        await typed(app, pilot, keys, lambda: len(app.screen_stack) == 1)
        await typed(app, pilot, "jj", lambda: table.cursor == 2)
