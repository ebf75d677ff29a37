"""Every screen in both sizes, cell by cell. `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from headway.wire import ErrorInfo, encode
from headway.wire.events import LogChunk
from headway.wire.runs import Facet, Facets, Kin, MarkRow, RunDetail, RunRow
from headway_tui.actions import for_places
from headway_tui.memory import View
from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES
from support.boards import open_metrics, open_queues
from support.consoles import NOW, RUN, console, events, open_run, rows, show
from support.goldens import SIZES, agreed
from support.screens import text_of
from support.terminal_tasks import CORPUS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_screens_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        agreed("runs", size, app)
        await pilot.press("c")
        await pilot.pause()
        agreed("sheet", size, app)
        await pilot.press("escape")
        await pilot.press("slash", *"status:f")
        await show(app, pilot)
        agreed("filter", size, app)
        await pilot.press("escape")
        await open_run(app, pilot)
        agreed("run", size, app)
        await pilot.press("tab", "tab")
        await show(app, pilot)
        agreed("state", size, app)
        await pilot.press("question_mark")
        await pilot.pause()
        agreed("help", size, app)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_queues_agents_and_metrics_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_queues(app, pilot)
        agreed("queues", size, app)
        await pilot.press("s", *"bill")
        await pilot.pause()
        agreed("pause", size, app)
        await pilot.press("escape", "tab")
        await show(app, pilot)
        agreed("agents", size, app)
        await pilot.press("l")
        await pilot.pause()
        agreed("agent", size, app)
        await pilot.press("escape")
        await open_metrics(app, pilot)
        agreed("metrics", size, app)


async def test_ascii_means_ascii() -> None:
    async with console((120, 40), ascii_only=True) as (app, pilot):
        assert text_of(app).replace("研究", "").isascii()
        await pilot.press("slash", *"status:f")
        await show(app, pilot)
        assert text_of(app).replace("研究", "").isascii()
        await pilot.press("escape")
        await open_run(app, pilot)
        assert text_of(app).isascii()
        await open_queues(app, pilot)
        assert text_of(app).isascii()
        await open_metrics(app, pilot)
        assert text_of(app).isascii()


async def test_without_colours_the_cursor_and_the_focus_are_still_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with console() as (app, pilot):
        assert app.no_color
        lines = text_of(app).splitlines()
        assert sum(line.startswith(">") for line in lines) == 1
        await pilot.press("j")
        await show(app, pilot)
        assert text_of(app).splitlines()[4].startswith("> ")


async def test_below_60x16_there_is_the_list_and_a_line_of_help() -> None:
    async with console((58, 14)) as (app, pilot):
        await show(app, pilot)
        lines = text_of(app).splitlines()
        assert lines[0].split() == ["STATE", "RUN", "TASK"]
        assert sum("research-agent" in line for line in lines) >= 10
        assert "enter open" in lines[-1]
        await pilot.press("colon", "x")
        await show(app, pilot)
        assert text_of(app).splitlines()[-1].startswith(" : x")


def hostile(text: str, number: int) -> RunRow:
    """A run of which every text is this one."""
    row = next(r for r in rows() if r.run == RUN)
    row.run = f"01JD9K4W2M8QZ5V7N3XBTRG{number:03d}"
    row.task = row.queue = row.agent = row.version = row.checkpoint_name = row.reason = text
    row.tags, row.error = (text, text), ErrorInfo(text, text, f"{text}\n{text}")
    return row


async def test_nothing_foreign_leaves_its_cells_on_any_screen() -> None:
    texts = [*CORPUS, "x" * 5000, "研" * 300, "e" + "\u0301" * 99]
    async with console() as (app, pilot):
        runs = app.screen
        assert isinstance(runs, RunsScreen)
        assert runs.counting is not None
        made = [hostile(text[:256], i) for i, text in enumerate(texts)]
        runs.view.snapshot(made)
        runs.counting.known["", ("status", "error")] = Facets(
            NOW, 1, values={"status": [], "error": [Facet(t[:100], 3) for t in texts]}
        )
        for at in range(0, len(texts), 20):
            runs.table.move(at + 20)
            app.link.trouble, runs.filter_text = texts[at], texts[at][:100]
            runs.say(texts[at])
            await show(app, pilot)
            _tame(text_of(app))
        app.link.trouble = ""
        everything = {text: [text] for text in texts}
        run = RunScreen(RUN, app.link)
        await app.push_screen(run)
        marks = [MarkRow(t[:100], "once", t, t[:20], 1, NOW) for t in texts]
        detail = RunDetail(made[1], payload=Raw(encode(everything)), why=texts[2], marks=marks,
                           trace=texts[3], env=tuple(texts), kin=Kin(7, 7, NOW))  # fmt: skip
        run._on_detail(detail)  # pyright: ignore[reportPrivateUsage]
        for n, text in enumerate(texts * 2, 1):
            event = events()[n % 16]
            event.n, event.data = n, {k: text if isinstance(v, str) else v
                                      for k, v in event.data.items()}  # fmt: skip
            run._on_event(event)  # pyright: ignore[reportPrivateUsage]
        run.logs.store.add(1, LogChunk(1, texts, NOW))
        run.logs.touch()
        run.state.view = "payload"
        run.state.show({"payload": everything}, b"")
        for _ in range(4):
            await show(app, pilot)
            _tame(text_of(app))
            for pane in (run.waterfall, run.logs, run.state):
                pane.do_page_down()
        for key in ("A", "I"):
            await pilot.press(key, "enter")
            await pilot.pause()
            _tame(text_of(app))
            await pilot.press("escape")
            for _ in range(4):
                await show(app, pilot)
                _tame(text_of(app))
                await pilot.press("pagedown")
        await pilot.press("r")
        await pilot.pause()
        _tame(text_of(app))


def _tame(text: str) -> None:
    """No control character, nothing that turns the direction, nothing invisible."""
    signs = "\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    assert not re.search(f"[{signs}]", text)


async def test_a_line_of_ten_megabytes_is_a_line() -> None:
    long = "INFO " + "x" * 10_000_000 + " its-end"
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        run.logs.store.add(3, LogChunk(2, [long], NOW))
        run.logs.touch()
        run.state.view = "tree"
        run.state.show({"new": {"text": long}}, long.encode())
        await show(app, pilot)
        assert "INFO xxxxx" in text_of(app)
        assert run.logs.search("its-end")
        await pilot.press("L", "w", "x")
        await show(app, pilot)
        assert "1 line hidden" in text_of(app)
        assert run.state.search("xxxx")
        await pilot.press("S", "enter")
        await pilot.pause()
        assert "xxxxx" in text_of(app)


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        text_of(app)
        await open_run(app, pilot)
        text_of(app)
        for _ in range(5):
            await pilot.press("tab")
            await show(app, pilot)
            text_of(app)
        await open_queues(app, pilot)
        text_of(app)
        await open_metrics(app, pilot)
        text_of(app)


async def test_another_size_is_laid_out_at_once() -> None:
    async with console((120, 40)) as (app, pilot):
        screen = await open_run(app, pilot)
        for size in [(80, 24), (58, 14), (30, 9), (200, 60), (81, 24)]:
            await pilot.resize_terminal(*size)
            # What is painted before the clock comes by must fit as well.
            for widget in app.screen.query("*"):
                widget.refresh()
            await pilot.pause()
            text_of(app)
        await pilot.press("escape")
        for size in [(120, 40), (58, 14), (80, 24)]:
            await pilot.resize_terminal(*size)
            await show(app, pilot)
            text_of(app)
    assert screen.timeline.nodes


async def test_escape_in_the_command_line_closes_the_command_line_only() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        await pilot.press("colon", *"goto", "escape")
        await pilot.pause()
        assert app.screen is screen
        assert not screen.command.line.display
        assert screen.waterfall.has_focus
        await pilot.press("slash", "x", "escape")
        await pilot.pause()
        assert app.screen is screen
        assert screen.logs.has_focus
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("slash", "x", "escape")
        await pilot.pause()
        assert app.is_running
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.table.has_focus


async def test_chords_are_explained_after_a_while() -> None:
    async with console() as (app, pilot):
        await pilot.press("y")
        assert app.pending is None
        await pilot.pause(0.5)
        await show(app, pilot)
        assert " y copy:  y id  e error  c command  u subject" in text_of(app)
        await pilot.press("escape")
        assert app.pending is None
        assert app.is_running


async def test_help_is_searched_and_lists_commands() -> None:
    async with console() as (app, pilot):
        await pilot.press("question_mark", "slash", *"same error")
        await pilot.pause()
        text = text_of(app)
        assert ":same-error" in text
        assert ":reconnect" not in text
        await pilot.press("escape", "escape")
        await pilot.press("colon", *"version x", "enter")
        await show(app, pilot)
        assert ":version takes nothing" in text_of(app)
        await pilot.press("colon", *"nonsense", "enter")
        await show(app, pilot)
        assert "no command 'nonsense' here" in text_of(app)


async def test_read_only_takes_the_writes_away() -> None:
    async with console(readonly=True) as (app, pilot):
        await pilot.press("c")
        await show(app, pilot)
        text = text_of(app)
        assert "not done: this console is read-only" in text
        assert "cancel" not in text.splitlines()[-2]


async def test_output_is_searched_and_its_failures_found() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        assert isinstance(screen, RunScreen)
        await pilot.press("slash", *"/4\\d9/", "enter")
        hit = screen.logs.hit
        assert hit is not None
        line = screen.logs.store.line(hit)
        assert line is not None
        assert line.text.startswith("ERROR llm 429")
        await pilot.press("shift+tab", "n")
        node = screen.waterfall.chosen()
        assert node is not None
        assert node.bad


async def test_walking_through_checkpoints_shows_what_changed() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        assert screen.number == 2
        assert [r.sign + r.key for r in screen.state.rows] == [" topic", "~i", "~messages", "+[1]"]
        await pilot.press("left_square_bracket")
        await pilot.pause(0.1)
        assert screen.number == 1


async def test_lines_are_kept_by_search_and_by_the_time_of_a_row() -> None:
    async with console() as (app, pilot):
        screen = await open_run(app, pilot)
        await pilot.press("slash", *"429", "enter", "ampersand")
        await show(app, pilot)
        shown = [screen.logs.store.line(screen.logs.number(i)) for i in range(screen.logs.count())]
        texts = [line.text for line in shown if line is not None and line.level not in "-!"]
        assert texts == ["ERROR llm 429 retry-after=20"]
        assert "& 429" in text_of(app)
        await pilot.press("ampersand", "shift+tab", "s")
        await show(app, pilot)
        assert screen.logs.only_words == "only attempt 1"
        assert screen.logs.count() == 8
        await pilot.press("s")
        assert screen.logs.only is None


async def test_the_palette_has_everything_that_can_be_done_here(tmp_path: Path) -> None:
    file = tmp_path / "console.json"
    async with console(memory=file) as (app, pilot):
        assert "enter opens a run" in text_of(app)
        app.memory.save("noisy", View("status:failed"))
        found = {c.title: c for c in app.get_system_commands(app.screen)}
        have = {a.name for a in for_places(app.places())}
        assert have <= {title.partition(":")[0] for title in found}
        assert {"view noisy", f"run {RUN}", "agent edge-1", "theme headway-cb"} <= set(found)
        assert "$ headway cancel {run}" in str(found["cancel: cancel…"].help)
        found["agent edge-1"].callback()
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == "agent:edge-1"
        found["view noisy"].callback()
        assert screen.filter_text == "status:failed"
        await pilot.pause()
    async with console(memory=file) as (app, pilot):
        assert "enter opens a run" not in text_of(app)


async def test_keys_go_between_the_screens_and_the_list_stays_below() -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("5")
        await pilot.press("2", "2")
        await pilot.pause()
        assert isinstance(app.screen, QueuesScreen)
        assert len(app.screen_stack) == 2
        await pilot.press("1")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)


async def test_a_typed_command_is_carried_out_once_on_every_screen() -> None:
    async with console() as (app, pilot):
        await pilot.press("colon", *"preview", "enter")
        await show(app, pilot)
        assert isinstance(app.screen, RunsScreen)
        assert not app.screen.box.display
        await open_run(app, pilot)
        await pilot.press("colon", *"zoom-pane", "enter")
        await show(app, pilot)
        assert "─ timeline" in text_of(app)
        assert "─ logs" not in text_of(app)
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("colon", *"theme", "enter")
        await pilot.pause()
        assert app.theme == list(ROLES)[(list(ROLES).index("headway-dark") + 1) % len(ROLES)]
