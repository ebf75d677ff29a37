"""The run's screen: its five panes in both sizes, searches and pipes in them, other runs."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from headway.wire.runs import CheckpointRow, Kin, RunRow, RunsPage, RunsQuery, StateAnswer
from headway_tui.dialogs import Choice
from headway_tui.screens.run import RunScreen
from headway_tui.screens.run_panes import STATE_LIMIT
from headway_tui.screens.runs import RunsScreen
from headway_tui.sheets import Facts
from headway_tui.widgets.state_pane import ROWS
from support.consoles import NOW, RUN, T0, StillLink, console, open_run, show
from support.goldens import SIZES, agreed
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway.wire import BlobRef
    from headway.wire.runs import StateAsk
    from headway_tui.app import HeadwayApp

OTHER = "01JD9K4W2M8QZ5V7N3XBTRFHCB"
PARENT = "01JD9K4W2M8QZ5V7N3XBTRFHC9"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def title_of(run: RunScreen, pane: Any) -> str:
    return str(run.boxes[pane].border_title)


async def find(run: RunScreen, pilot: Any, text: str) -> None:
    """Search in the focused pane."""
    run.do_search()
    run.search.value = text
    await pilot.press("enter")


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


def seen(run: RunScreen) -> list[Any]:
    """The panes that are shown."""
    return [pane for pane, box in run.boxes.items() if box.display]


async def test_panes_are_reached_by_tab_by_letter_and_by_a_click_in_both_sizes() -> None:
    async with console((80, 24)) as (app, pilot):
        run = await open_run(app, pilot)
        panes: list[Any] = list(run.boxes)
        for pane in panes[1:]:
            await pilot.press("tab")
            assert run.focused is pane
            run.share()
            assert seen(run) == [run.waterfall, pane]
        await pilot.press("tab")
        assert (run.focused, seen(run)) == (run.waterfall, [run.waterfall, run.info])
        for key, pane in zip("AISLT", [*panes[3:], run.state, run.logs, run.logs], strict=True):
            await pilot.press(key)
            assert run.focused is pane  # T is the output's own: its clock
        await pilot.press("Z")
        await show(app, pilot)
        assert seen(run) == [run.logs]
        await pilot.press("Z")
        await show(app, pilot)
        lines = text_of(app).splitlines()
        assert lines[0].endswith("NATS ● PG ●")
        at = next(line for line in lines if "[A]ttempts" in line).index("[A]")
        await pilot.click(run.tabs, offset=(at + 1, 0))
        assert run.focused is run.attempts
        app.link.connected = False
        for _ in range(9):
            app.paint()
        await show(app, pilot)
        first, second = text_of(app).splitlines()[:2]
        assert first.startswith(" ! NATS"), "the header is here when there is something to say"
        assert "NATS ○" in second
        await pilot.resize_terminal(120, 40)
        await pilot.press("tab")
        await show(app, pilot)
        assert run.focused is run.waterfall
        assert seen(run) == [run.waterfall, run.logs, run.attempts], "one of three is at the right"


# --- search and pipes


async def test_the_state_is_searched_folded_and_piped_and_the_output_as_well(
    tmp_path: Path,
) -> None:
    file = tmp_path / "given"
    async with console() as (app, pilot):
        run = await open_run(app, pilot)

        async def given() -> str:
            """What a command of the shell gets."""
            file.unlink(missing_ok=True)
            app.pane_screen.run_command(f"pipe tee {file}")
            await until(lambda: isinstance(app.screen, Facts), 10, what="what it said")
            await pilot.press("escape")
            return file.read_text()

        await pilot.press("S")
        await find(run, pilot, "messages")
        assert run.focused is run.state
        assert run.state.plain()[run.state.cursor].split()[1] == "messages"
        assert json.loads(await given())["i"] == 2

        long = "word " * 200 + "end-of-it"
        run.state.view = "tree"
        run.state.show({"new": {"list": [1, {"deep": long}], "last": 1}}, b'{"needle": 1}')
        await find(run, pilot, "/l[ia]st/")
        assert run.state.cursor == 0
        run.state.do_next_hit()
        assert run.state.cursor == 4
        run.state.do_next_hit()
        assert run.state.cursor == 0, "it goes round"
        told = {"nothing": "no row of this view has", "needle": "but the state has it",
                "/(/": "the expression is wrong"}  # fmt: skip
        for wanted, said in told.items():
            await find(run, pilot, wanted)
            await show(app, pilot)
            assert said in text_of(app)

        await pilot.press("enter")
        assert [r.split()[0] for r in run.state.plain()] == ["list", "last"]
        await show(app, pilot)
        assert "▸" in text_of(app)
        run.state.do_fold_value()
        run.state.move(3)
        await pilot.press("enter")
        await pilot.pause()
        text = text_of(app)
        assert "list.[1].deep" in text
        assert "end-of-it" in text
        await pilot.press("escape")

        run.state.view = "payload"
        run.state.show({"payload": {"topic": "limits"}}, b"")
        assert json.loads(await given()) == {"topic": "limits"}
        run.state.view = "result"
        await pilot.press("vertical_line")
        await show(app, pilot)
        assert "no result to pipe" in text_of(app)

        await pilot.press("L")
        await find(run, pilot, "ERROR")
        await pilot.press("ampersand")
        await show(app, pilot)
        assert "ERROR llm 429 retry-after=20\n" in await given()
        assert "cache miss" not in file.read_text()
        run.logs.keep(lambda _: False, "nothing")
        run.logs.store.lines[:] = [li for li in run.logs.store.lines if li.level not in "-!"]
        await show(app, pilot)
        assert "no line of 5 is shown: nothing" in text_of(app)
        app.options = dataclasses.replace(app.options, shell=False)
        await pilot.press("vertical_line")
        await show(app, pilot)
        assert "in a browser" in text_of(app)


async def test_a_large_state_is_fetched_when_it_is_wanted() -> None:
    body = json.dumps({"list": list(range(ROWS + 5)), "last": "x" * STATE_LIMIT}).encode()
    row = CheckpointRow(2, "iteration-2", len(body), NOW, 3, sha256="9c1e" * 16)
    fetched: list[str] = []

    def large(_: StateAsk) -> StateAnswer:
        return StateAnswer(row, key="blob-1")

    class Blobs:
        async def fetch_blob(self, ref: BlobRef) -> bytes:
            """The body."""
            fetched.append(ref.key)
            return body

    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        link: Any = app.link
        link.client = Blobs()
        link.answers["state"] = large
        run._states.clear()  # pyright: ignore[reportPrivateUsage]
        run.state.bodies.clear()
        run._want_state()  # pyright: ignore[reportPrivateUsage]
        await until(lambda: "enter fetches it" in run.state.plain()[0], 10, what="what it is")
        assert "sha 9c1e9c1e" in run.state.plain()[0]
        assert fetched == []
        run.state.view = "tree"
        await pilot.press("S", "enter")
        await until(lambda: run.state.count() > ROWS, 10, what="its rows")
        assert fetched == ["blob-1"]
        assert run.state.plain()[-1].strip() == "7 more rows: | pipes all of it"


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
        app.push_screen(run2 := RunScreen(RUN, app.link))
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
