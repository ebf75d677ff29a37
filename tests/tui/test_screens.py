"""Every screen in both sizes, cell by cell. `WRITE_GOLDEN=1` writes what is shown now."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway.wire import ErrorInfo, encode
from headway.wire.events import LogChunk
from headway.wire.runs import Facet, Facets, RunDetail, RunRow, RunsPage, RunsQuery
from headway.wire.steering import BulkAsk, BulkPage
from headway_tui.actions import for_places
from headway_tui.memory import View
from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from support.boards import open_metrics, open_queues
from support.consoles import NOW, RUN, console, events, open_run, rows, show
from support.goldens import SIZES, agreed
from support.screens import strips_of, text_of
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
        run = RunScreen(RUN)
        await app.push_screen(run)
        run._on_detail(RunDetail(made[1], payload=Raw(encode(everything)), why=texts[2]))  # pyright: ignore[reportPrivateUsage]
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
        await pilot.press("r")
        await pilot.pause()
        _tame(text_of(app))


def _tame(text: str) -> None:
    """No control character, nothing that turns the direction, nothing invisible."""
    signs = "\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    assert not re.search(f"[{signs}]", text)


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        text_of(app)
        await open_run(app, pilot)
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


async def test_rows_keep_their_place_and_keys_move_the_cursor() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("G")
        assert screen.table.cursor == 12
        await pilot.press("g", "g", "j")
        chosen = screen.chosen()
        assert chosen is not None
        assert chosen.run == RUN
        await pilot.press("space")
        assert screen.marks == {RUN}
        await pilot.press("colon", *"mark-all", "enter")
        assert len(screen.marks) == 13


def matching(count: int) -> Any:
    """An engine that has so many runs for any bulk request, 5 on a page."""

    def answer(ask: BulkAsk) -> BulkPage:
        done = int(ask.after or 0)
        n = min(5, count - done)
        end = done + n
        runs = [r.run for r in rows()][done:end]
        return BulkPage(NOW, n, 0 if ask.dry_run else n, runs=runs,
                        next=str(end) if end < count else "")  # fmt: skip

    return answer


async def test_many_runs_are_counted_by_the_engine_and_need_their_number_typed() -> None:
    async with console() as (app, pilot):
        link: Any = app.link
        link.answers["bulk"] = matching(12)
        await pilot.press("asterisk", "c")
        await pilot.pause()
        text = text_of(app)
        assert "12 runs on default" in text
        assert "type 12 and enter" in text
        assert "1 of those marked cannot be meant" in text
        await pilot.press("1", "3", "enter")
        await pilot.pause()
        await show(app, pilot)
        assert "left as it is" in text_of(app)
        assert all(body.dry_run for verb, body in link.asked if verb == "bulk")
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("1", "2", "enter")
        await pilot.pause()
        await show(app, pilot)
        assert "12 cancelled" in text_of(app)
        done = [b for verb, b in link.asked if verb == "bulk" and not b.dry_run]
        assert [body.after for body in done] == ["", "5", "10"]
        assert done[0].query == "id:" + ",".join(r.run for r in rows())
        assert done[0].as_of == NOW
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert not screen.marks


async def test_all_that_match_are_meant_by_their_query() -> None:
    async with console() as (app, pilot):
        link: Any = app.link
        link.answers["bulk"] = matching(9)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None
        screen.set_filter("status:live")
        screen.feed.more = True
        await pilot.press("asterisk", "R")
        await pilot.pause()
        assert "all that match  status:live" in text_of(app)
        assert "$ headway resume --query status:live" in text_of(app)
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert "9 resumed" in text_of(app)
        await pilot.press("asterisk", "r")
        await show(app, pilot)
        screen_now = app.screen
        assert isinstance(screen_now, ReplayScreen)
        assert screen_now.draft.script.select.query == "status:live"


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


async def test_the_filter_follows_what_is_typed_and_escape_takes_it_back() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("slash", *"status:fai")
        await show(app, pilot)
        text = text_of(app)
        assert "failed 1" in text
        assert screen.filter_text == ""
        await pilot.press("tab")
        await pilot.pause(0.2)
        assert screen.filter.value == screen.filter_text == "status:failed"
        await pilot.press("escape")
        assert screen.filter_text == ""
        await pilot.press("slash", *"status:failed", "enter")
        assert screen.filter_text == "status:failed"
        await pilot.press("minus")
        assert screen.filter_text == ""
        await pilot.press("minus")
        assert screen.filter_text == "status:failed"


async def test_a_flaw_is_underlined_where_it_is() -> None:
    async with console() as (app, pilot):
        await pilot.press("slash", *"task:x status:fail since:2h")
        await show(app, pilot)
        underlined = [s.text for strip in strips_of(app) for s in strip
                      if s.style and s.style.underline]  # fmt: skip
        assert "".join(underlined) == "fail"
        assert "did you mean failed?" in text_of(app)


async def test_same_error_facets_and_saved_views_are_filters(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "console.json"
    async with console(memory=file) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j", "E")
        assert screen.filter_text == 'error:"RateLimitError: "'
        await pilot.press("colon", *"view save noisy", "enter")
        await pilot.press("colon", *"runs *", "enter")
        assert screen.filter_text == ""
        await pilot.press("f", "j", "enter")
        await pilot.pause()
        assert screen.filter_text.startswith("status:")
        await pilot.press("colon", *"view no", "tab", "enter")
        assert screen.filter_text == 'error:"RateLimitError: "'
    async with console(memory=file) as (app, pilot):
        assert app.memory.views["noisy"].query == 'error:"RateLimitError: "'
        await pilot.press("colon", "up", "enter")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == 'error:"RateLimitError: "'
        await pilot.press("colon", *"view drop noisy", "enter")
        assert not app.memory.views


async def test_a_broken_file_of_views_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "console.json"
    file.write_text("{")
    async with console(memory=file) as (app, pilot):
        await pilot.press("colon", *"view save x", "enter")
        await show(app, pilot)
        assert "cannot be read" in text_of(app)
    assert file.read_text() == "{"


async def test_a_range_is_marked_from_where_it_began() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("j", "V", "j", "j", "k", "V", "G", "space")
        order = screen.view.order
        assert screen.marks == {order[1], order[2], order[-1]}
        await pilot.press("u")
        assert not screen.marks


async def test_the_preview_goes_beside_the_list_where_there_is_room() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press("P")
        await show(app, pilot)
        assert screen.box.region.x > screen.table.region.x
        text_of(app)
        await pilot.press("p")
        assert not screen.box.display
    async with console((80, 24)) as (app, pilot):
        await pilot.press("P")
        await show(app, pilot)
        assert "needs 100 columns" in text_of(app)


async def test_an_empty_list_says_the_next_step() -> None:
    async with console() as (app, pilot):
        screen = app.screen
        link: Any = app.link
        assert isinstance(screen, RunsScreen)
        assert screen.feed is not None

        def answer(ask: RunsQuery) -> RunsPage:
            return RunsPage([], NOW, total=211 if ask.query == "status:failed" else 0)

        link.answers["runs"] = answer
        screen.set_filter("status:failed since:2h")
        screen.view.snapshot([])
        screen.feed.loading, screen.feed.more, screen.feed.answers = False, False, 1
        await show(app, pilot)
        await pilot.pause()
        await show(app, pilot)
        assert "no run matches; nearest: drop since:2h: 211 runs" in text_of(app)
        screen.set_filter("")
        screen.feed.loading = False
        await show(app, pilot)
        assert "no run has been queued yet: `headway run TASK`" in text_of(app)


async def test_chords_are_explained_after_a_while() -> None:
    async with console() as (app, pilot):
        await pilot.press("y")
        assert app.pending is None
        await pilot.pause(0.5)
        await show(app, pilot)
        assert "y e copy error" in text_of(app)
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


async def test_a_bad_filter_keeps_the_list_and_says_what_was_expected() -> None:
    async with console() as (app, pilot):
        await pilot.press("slash", *"status:xail", "enter")
        await show(app, pilot)
        text = text_of(app)
        assert "no status 'xail'" in text
        assert RUN[:14] in text


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


async def test_rows_are_exported_and_a_bad_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    async with console() as (app, pilot):
        await pilot.press("j", "space", "colon", *f"export {file}", "enter")
        assert [json.loads(line)["run"] for line in file.read_text().splitlines()] == [RUN]
        await pilot.press("u", "colon", *f"export {file}", "enter")
        assert len(file.read_text().splitlines()) == 13
        await pilot.press("colon", *f"export {tmp_path}/no/x", "enter")
        await show(app, pilot)
        assert "was not written: No such file" in text_of(app)


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


@pytest.mark.parametrize(
    ("keys", "filter_"), [(["j"], "queue:default"), (["tab", "j"], "agent:edge-4")], ids=str
)
async def test_the_runs_of_a_queue_or_an_agent_are_the_list_with_a_filter(
    keys: list[str], filter_: str
) -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press(*keys, "enter")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == filter_


async def test_rows_are_sorted_and_the_window_is_changed() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        await pilot.press("o")
        await show(app, pilot)
        assert [line.name for line in screen.queue_lines] == ["agents", "slow", "gpu", "default"]
        metrics = await open_metrics(app, pilot)
        await pilot.press("w", "w")
        await show(app, pilot)
        assert metrics.window == 60
        assert "metrics  1m" in text_of(app)
        await pilot.press("colon", *"window 1h", "enter")
        assert metrics.window == 3600


async def test_a_switch_can_be_typed_with_its_name() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        await pilot.press("colon", *"drain edge-4", "enter")
        await pilot.pause()
        assert "$ headway agents drain edge-4" in text_of(app)
        await pilot.press("escape", "colon", *"pause nothing", "enter")
        await show(app, pilot)
        assert "no 'nothing': agents, default, gpu, slow" in text_of(app)
        assert screen.place == "agents"


async def test_to_go_on_needs_no_reason() -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("G", "s")
        await pilot.pause()
        text = text_of(app)
        assert "$ headway queue resume slow" in text
        assert "goes on: 14 runs" in " ".join(text.replace("│", " ").split())
        assert "reason" not in text
        await pilot.press("enter")
        await pilot.pause()
        await show(app, pilot)
        assert "not done: " in text_of(app)


async def test_a_limit_has_to_be_a_number_before_it_is_sent() -> None:
    async with console() as (app, pilot):
        await open_queues(app, pilot)
        await pilot.press("L", *"x", "enter")
        await pilot.pause()
        assert "a whole number from 0 (no limit) to 1,000,000" in text_of(app)
        await pilot.press("backspace", *"40")
        await pilot.pause()
        assert "$ headway queue limit agents 40" in text_of(app)
        await pilot.press("escape")
        await show(app, pilot)
        assert "left as it is" in text_of(app)


async def test_what_may_be_old_is_dimmed_and_its_age_said() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        app.link.connected, app.link.since = False, screen.clock() - 12
        screen.queue_table.touch()
        await show(app, pilot)
        assert "as of 12.0s ago" in text_of(app)
        cells = screen.queue_table._fetch(0)  # pyright: ignore[reportPrivateUsage]
        assert cells is not None
        assert {cell.role for cell in cells[1:]} == {"muted"}
        await pilot.press("s")
        await show(app, pilot)
        assert "not done: there is no link to NATS" in text_of(app)


async def test_an_empty_screen_says_the_next_step() -> None:
    async with console() as (app, pilot):
        screen = await open_queues(app, pilot)
        screen.queues.snapshot([])
        screen.agents.snapshot([])
        screen.queue_table.touch()
        await show(app, pilot)
        text = text_of(app)
        assert "no queue yet" in text
        assert "no agent is connected; 0 runs wait: `headway agent`" in text
        await pilot.press("s")
        await show(app, pilot)
        assert "no queue is meant" in text_of(app)
