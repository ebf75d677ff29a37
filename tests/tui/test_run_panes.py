"""The run's screen: its five panes in both sizes, searches and pipes in them, other runs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from headway.wire.runs import Kin, RunRow, RunsPage, RunsQuery
from headway_tui.dialogs import Choice
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from headway_tui.sheets import Facts
from support.consoles import NOW, RUN, T0, StillLink, console, open_run, show
from support.goldens import SIZES, agreed
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway_tui.app import HeadwayApp

OTHER = "01JD9K4W2M8QZ5V7N3XBTRFHCB"
PARENT = "01JD9K4W2M8QZ5V7N3XBTRFHC9"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def title_of(run: RunScreen, pane: Any) -> str:
    return str(run.boxes[pane].border_title)


# --- panes


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_attempts_and_info_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_run(app, pilot)
        await pilot.press("A")
        await show(app, pilot)
        agreed("run-tries", size, app)
        await pilot.press("I")
        await show(app, pilot)
        agreed("run-info", size, app)


async def test_tab_goes_through_all_panes_of_a_small_terminal_and_letters_to_each() -> None:
    async with console((80, 24)) as (app, pilot):
        run = await open_run(app, pilot)
        panes = list(run.boxes)
        for pane in [*panes[1:], panes[0]]:
            await pilot.press("tab")
            await show(app, pilot)
            assert run.focused is pane
            seen = [p for p, box in run.boxes.items() if box.display]
            assert seen == (
                [run.waterfall, pane] if pane is not run.waterfall else [pane, run.info]
            )
        for key, pane in zip("AISLT", [*panes[3:], run.state, run.logs, None], strict=True):
            await pilot.press(key)
            await show(app, pilot)
            assert run.focused is (pane or run.logs)  # T is the output's own: its clock
        await pilot.press("Z")
        await show(app, pilot)
        assert [p for p, box in run.boxes.items() if box.display] == [run.logs]


async def test_beside_the_output_is_one_of_three_and_clicks_on_tabs_choose() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        await pilot.press("I", "tab")
        await show(app, pilot)
        assert run.focused is run.waterfall
        assert [p for p, box in run.boxes.items() if box.display] == [
            run.waterfall, run.logs, run.info,
        ]  # fmt: skip
        await pilot.resize_terminal(80, 24)
        await show(app, pilot)
        line = next(li for li in text_of(app).splitlines() if "[A]ttempts" in li)
        await pilot.click(run.tabs, offset=(line.index("[A]") + 1, 0))
        await show(app, pilot)
        assert run.focused is run.attempts


async def test_the_header_of_a_small_terminal_comes_when_there_is_something_to_say() -> None:
    async with console((80, 24)) as (app, pilot):
        await open_run(app, pilot)
        assert text_of(app).splitlines()[0].endswith("NATS ●  PG ●".replace("  ", " "))
        app.link.connected = False
        for _ in range(9):
            app.paint()
        await show(app, pilot)
        first, second = text_of(app).splitlines()[:2]
        assert first.startswith(" ! NATS")
        assert "NATS ○" in second


# --- search and pipes


async def test_the_state_is_searched_and_what_a_view_lacks_is_said() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        await pilot.press("S", "slash", *"messages", "enter")
        assert run.focused is run.state
        assert run.state.plain()[run.state.cursor].split()[1] == "messages"
        state = json.dumps({"topic": "x", "messages": [{"text": "needle" * 200}] * 3})
        run.state.show({"new": json.loads(state)}, state.encode())
        await pilot.press("v", "slash", *"/x|mess/", "enter")
        assert run.state.cursor == 0
        await pilot.press("n")
        assert run.state.cursor == 1
        await pilot.press("n", "N")
        assert run.state.cursor == 1
        await pilot.press("slash", *"nothing", "enter")
        await show(app, pilot)
        assert "no row of this view has" in text_of(app)
        run.state.show({"old": {"a": [1]}, "new": {"a": [1]}}, b'{"a": [1], "needle": 1}')
        await pilot.press("slash", *"needle", "enter")
        await show(app, pilot)
        assert "but the state has it" in text_of(app)
        await pilot.press("slash", *"/(/", "enter")
        await show(app, pilot)
        assert "the expression is wrong" in text_of(app)


async def test_rows_of_a_state_are_folded_and_cut_values_are_shown_whole() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        long = "word " * 200 + "end-of-it"
        run.state.view = "tree"
        run.state.show({"new": {"list": [1, {"deep": long}], "last": 1}}, b"{}")
        await pilot.press("S")
        assert run.state.count() == 5
        await pilot.press("enter")
        assert [r.split()[0] for r in run.state.plain()] == ["list", "last"]
        await show(app, pilot)
        assert "▸" in text_of(app)
        await pilot.press("enter", "j", "j", "j", "enter")
        await pilot.pause()
        text = text_of(app)
        assert "list.[1].deep" in text
        assert "end-of-it" in text


async def test_state_and_output_go_through_a_command_of_the_shell(tmp_path: Path) -> None:
    file = tmp_path / "given"
    async with console() as (app, pilot):
        run = await open_run(app, pilot)

        async def given(command: str) -> str:
            file.unlink(missing_ok=True)
            app.pane_screen.run_command(f"pipe {command}")
            await until(lambda: isinstance(app.screen, Facts), 10, what="what it said")
            await pilot.press("escape")
            return file.read_text()

        await pilot.press("S")
        assert json.loads(await given(f"tee {file}"))["i"] == 2
        await pilot.press("v", "v", "v")
        assert run.state.view == "payload"
        assert json.loads(await given(f"tee {file}")) == {"topic": "limits"}
        await pilot.press("v", "vertical_line")
        await show(app, pilot)
        assert "no result to pipe" in text_of(app)
        await pilot.press("L", "slash", *"ERROR", "enter", "ampersand")
        await show(app, pilot)
        assert "ERROR llm 429 retry-after=20\n" in await given(f"tee {file}")
        assert "cache miss" not in file.read_text()


async def test_a_console_in_a_browser_pipes_nothing() -> None:
    async with console(shell=False) as (app, pilot):
        await open_run(app, pilot)
        await pilot.press("S", "vertical_line")
        await show(app, pilot)
        assert "in a browser" in text_of(app)


# --- the axis


async def test_a_drag_on_the_axis_zooms_and_a_click_goes_to_what_began_then() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        axis, falls = run.axis, run.waterfall
        line = axis.pieces(120)[0].text
        left, right = line.index("8.9s"), line.index("17.8s")
        await pilot.mouse_down(axis, offset=(right, 0))
        await pilot.hover(axis, offset=(left, 0))
        await pilot.mouse_up(axis, offset=(left, 0))
        await show(app, pilot)
        assert falls.dragged is not None
        low, high = falls.dragged
        assert 8 < low < 9.5 < 17 < high < 19
        assert "zoomed: = fits" in title_of(run, falls)
        rows = [line for line in text_of(app).splitlines() if "attempt 2 (3)" in line]
        assert rows[0].rstrip("│").split()[-2] == ">"  # it lies beyond what is seen
        await pilot.press(*["minus"] * 9)
        assert falls.dragged is None
        await pilot.mouse_down(axis, offset=(right, 0))
        await pilot.mouse_up(axis, offset=(right, 0))
        chosen = falls.chosen()
        assert chosen is not None
        assert falls.dragged is None
        assert abs((chosen.start - T0).total_seconds() - 17.8) < 2
        falls.dragged = (5.0, 9.0)
        await pilot.press("plus", "0")
        assert falls.dragged == (0.0, 2.0)
        await pilot.press("equals_sign")
        assert falls.dragged is None


# --- to other runs


def a_row(run: str, status: str = "succeeded", **fields: Any) -> RunRow:
    return RunRow(run, "research-agent", status, "agents", T0, **fields)


def asking(app: HeadwayApp, found: dict[str, list[RunRow]]) -> StillLink:
    """A link that answers `runs` by the beginning of the query."""
    link = app.link
    assert isinstance(link, StillLink)

    def answer(ask: RunsQuery) -> RunsPage:
        return RunsPage([r for h, rows in found.items() if ask.query.startswith(h) for r in rows],
                        NOW)  # fmt: skip

    link.answers["runs"] = answer
    return link


async def test_forks_are_opened_and_what_failed_alike_is_listed() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        assert "trace 4bf9…  2 forks ↳" in text_of(app).splitlines()[1]
        await pilot.press("f")
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.filter_text == f"origin:{RUN}"
        app.push_screen(run2 := RunScreen(RUN))
        await pilot.pause()
        assert run.detail is not None
        run2._on_detail(replace(run.detail, kin=Kin(1)))  # pyright: ignore[reportPrivateUsage]
        asking(app, {f"origin:{RUN}": [a_row(OTHER, origin=RUN)]})
        await pilot.press("f")
        await until(lambda: getattr(app.screen, "run_id", "") == OTHER, 5, what="the fork")
        await pilot.press("escape")
        row = replace(run.detail.row, failure="RateLimitError")
        run2._on_detail(replace(run.detail, row=row))  # pyright: ignore[reportPrivateUsage]
        await pilot.press("E")
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.filter_text == "failure:RateLimitError since:2h"


async def test_a_run_is_compared_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def opened(_: RunScreen, *, pair: tuple[str, str]) -> None:
        asked.append(pair)

    monkeypatch.setattr(RunScreen, "open_replay", opened)
    cases = [(PARENT, 0, False, (PARENT, RUN)), ("", 1, False, (RUN, OTHER)),
             (PARENT, 1, True, (RUN, OTHER)), ("", 0, False, (PARENT, RUN))]  # fmt: skip
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        assert run.detail is not None
        asking(app, {"origin:": [a_row(OTHER)], "task:research-agent until:": [a_row(PARENT)]})
        for origin, forks, which, pair in cases:
            asked.clear()
            row = replace(run.detail.row, origin=origin)
            run._on_detail(replace(run.detail, row=row, kin=Kin(forks)))  # pyright: ignore[reportPrivateUsage]
            await pilot.press("d")
            if which:  # there are two: one is chosen
                await until(lambda: isinstance(app.screen, Choice), 5, what="the choice")
                await pilot.press("j", "enter")
            await until(lambda: bool(asked), 5, what="a pair")
            assert asked == [pair]
        run._on_detail(replace(run.detail, kin=None))  # pyright: ignore[reportPrivateUsage]
        asking(app, {})
        await pilot.press("d")
        await until(lambda: "nothing to compare it with" in text_of(app), 5, what="it is said")
