"""The run's screen: ways to look at its timeline, its output wrapped, sifted and marked."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headway.wire.events import LogChunk, Span, SpanChunk
from headway.wire.runs import CheckpointRow, RunDetail, RunsPage, StateAnswer
from headway_tui.model import views
from headway_tui.model.loglines import shape
from headway_tui.model.nodes import Node
from headway_tui.widgets.marked_bar import MARK, spread
from support.consoles import NOW, T0, StillLink, console, events, open_run, show
from support.goldens import SIZES, agreed
from support.screens import text_of

if TYPE_CHECKING:
    from headway_tui.screens.run import RunScreen


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def node(key: str, start: float, end: float | None, *children: Node, kind: str = "step") -> Node:
    at = T0 + timedelta(seconds=start)
    until = None if end is None else T0 + timedelta(seconds=end)
    return Node(key, kind, key, at, until, children=list(children))


def path(*nodes: Node, now: float = 100) -> list[tuple[str, int, str]]:
    rows = views.critical(nodes, T0 + timedelta(seconds=now))
    return [(r.node.label, r.depth, r.node.note) for r in rows]


# --- the critical path


def test_the_critical_path_is_the_chain_that_took_the_time() -> None:
    """Of steps side by side the one that ended last; then what ended before that one began."""
    attempt = node(
        "try", 0, 10, node("plan", 0, 2), node("short", 2, 3), node("long", 2, 8),
        node("last", 8.5, 10), node("beside", 8.6, 9), kind="attempt",
    )  # fmt: skip
    assert path(attempt, node("wait", 10, 20, kind="backoff")) == [
        ("try", 0, "own 2%"), ("plan", 1, "10%"), ("long", 1, "30%"), ("last", 1, "8%"),
        ("wait", 0, "50%"),
    ]  # fmt: skip


def test_the_path_goes_into_what_was_called() -> None:
    inner = node("request", 1, 4, node("dns", 1, 2), kind="span")
    attempt = node("try", 0, 5, node("ask", 0, 5, inner), kind="attempt")
    assert [(label, depth) for label, depth, _ in path(attempt)] == [
        ("try", 0), ("ask", 1), ("request", 2), ("dns", 3),
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=20),
    st.one_of(st.none(), st.floats(50, 60)),
)
def test_shares_of_the_path_are_never_more_than_the_whole(
    steps: list[tuple[float, float]], end: float | None
) -> None:
    children = [node(str(i), a, a + b) for i, (a, b) in enumerate(steps)]
    rows = views.critical(
        [node("try", 0, end, *children, kind="attempt")], T0 + timedelta(seconds=80)
    )
    shares = [float(r.node.note.removeprefix("own ").rstrip("%")) for r in rows]
    assert sum(shares) <= 100 + len(rows)
    assert [r.node.start for r in rows] == sorted(r.node.start for r in rows)


# --- ways to look at the timeline


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_ways_to_look_at_a_run_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        run = await open_run(app, pilot)
        await pilot.press("v")
        await show(app, pilot)
        agreed("run-attempts", size, app)
        await pilot.press("v", "v")
        await show(app, pilot)
        agreed("run-critical", size, app)
        await pilot.press("v", "j", "enter")
        await pilot.pause()
        agreed("run-details", size, app)
        await pilot.press("escape", "D")
        await pilot.pause()
        assert '"status": "failed"' in text_of(app)
        await pilot.press("escape")
        assert app.screen is run


async def test_another_view_stays_at_its_row() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        at = next(i for i in range(20) if "once" in row_of(run, i))
        run.waterfall.move(at)
        for _ in range(4):
            await pilot.press("v")
        chosen = run.waterfall.chosen()
        assert chosen is not None
        assert "once" in chosen.label


def row_of(run: RunScreen, index: int) -> str:
    return "".join(s.text for s in run.waterfall.row(index, 100))


async def test_details_of_a_span_are_its_attributes() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        ns = int(T0.timestamp() * 1e9) + 1_000_000_000
        made = Span("a" * 32, "b" * 16, "POST /v1", ns, ns + 5, attributes={"http.url": "\x1b[2J"})
        run._on_spans(1, SpanChunk(1, [made], T0))  # pyright: ignore[reportPrivateUsage]
        await show(app, pilot)
        keys = [run.waterfall.row(i, 100) for i in range(run.waterfall.count())]
        at = next(i for i, row in enumerate(keys) if any("POST /v1" in s.text for s in row))
        run.waterfall.move(at)
        await pilot.press("enter")
        await pilot.pause()
        shown = text_of(app)
        assert "http.url" in shown
        assert "\x1b" not in shown


# --- marks in the scrollbar


@given(st.sets(st.integers(0, 999)), st.integers(1, 1000), st.integers(1, 60))
def test_a_mark_stands_where_the_failures_are(bad: set[int], count: int, height: int) -> None:
    bad = {b for b in bad if b < count}
    cells = spread(lambda a, b: any(a <= x < b for x in bad), count, height)
    assert all(0 <= c < height for c in cells)
    assert bool(cells) == bool(bad)
    assert {b * height // count for b in bad} <= {c + d for c in cells for d in (-1, 0, 1)}


async def test_errors_are_marked_in_the_scrollbar_of_the_output() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        lines = [f"line {n}" if n != 500 else "ERROR no" for n in range(1000)]
        run.logs.store.add(3, LogChunk(2, lines, NOW))
        run.logs.touch()
        await show(app, pilot)
        bar = run.logs.vertical_scrollbar.region
        column = [line.ljust(120)[bar.x] for line in text_of(app).splitlines()]
        marks = [y - bar.y for y, sign in enumerate(column) if sign == MARK]
        assert marks == [0, bar.height // 2]  # the error of the first lines, and this one


# --- the output


LONG = "INFO " + "word " * 60 + "end-of-it"


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_wrapped_output_looks_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        run = await open_run(app, pilot)
        run.logs.store.add(3, LogChunk(2, [LONG, "INFO 研究" * 40, "INFO tool search q='x'"], NOW))
        run.logs.touch()
        await pilot.press("tab", "w", "T", "T")
        await show(app, pilot)
        agreed("run-wrapped", size, app)
        assert run.logs.following
        await pilot.press("k")
        await show(app, pilot)
        assert not run.logs.following
        await pilot.press("G")
        await show(app, pilot)
        assert "q='x'" in text_of(app)


async def test_every_cell_of_a_wrapped_line_is_shown_once() -> None:
    async with console((80, 24)) as (app, pilot):
        run = await open_run(app, pilot)
        words = [f"w{n:03d}" for n in range(150)]
        run.logs.store.add(3, LogChunk(2, [" ".join(words)], NOW))
        run.logs.touch()
        await pilot.press("tab", "Z", "w")
        await show(app, pilot)
        width = run.logs.room
        rows = [line[1 : 1 + width] for line in text_of(app).splitlines() if line[:1] == "│"]
        at = next(i for i, row in enumerate(rows) if "w000" in row)
        head = rows[at].index("w000")
        joined = "".join(row[head:] for row in rows[at:])
        assert [w for w in words if w not in joined] == []


async def test_lines_like_one_are_hidden_and_shown_again() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        lines = [f"INFO poll {n} took {n}.5ms id=a{n}f" for n in range(50)] + ["INFO other"]
        run.logs.store.add(3, LogChunk(2, lines, NOW))
        run.logs.touch()
        await pilot.press("tab", "slash", *"poll 20", "enter")
        await show(app, pilot)
        had = run.logs.count()
        await pilot.press("x")
        await show(app, pilot)
        assert run.logs.count() == had - 50
        assert "50 lines hidden" in text_of(app)
        run.logs.store.add(3, LogChunk(53, ["INFO poll 7 took 1.5ms id=a7f", "INFO new"], NOW))
        run.logs.touch()
        await show(app, pilot)
        assert run.logs.count() == had - 50 + 1
        await pilot.press("u")
        await show(app, pilot)
        assert run.logs.count() == had + 2


def test_a_shape_is_what_lines_have_in_common() -> None:
    assert shape("poll 12 'a' 0x1f 12:30:01") == shape("poll 7 'bc' 0x2f 11:00:59")
    assert shape("poll 12 failed") != shape("poll 12 worked")
    assert len(shape("x" * 10_000_000)) < 1000


async def test_a_long_line_is_read_whole_on_a_page() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        run.logs.store.add(3, LogChunk(2, ["x" * 94 * 16 + "the-end"], NOW))
        run.logs.touch()
        await show(app, pilot)
        assert "the-end" not in text_of(app)
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert "the-end" in text_of(app)


async def test_a_state_is_compared_with_any_checkpoint() -> None:
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        row = CheckpointRow(3, "three", 9, T0, 1)
        states: Any = run._states  # pyright: ignore[reportPrivateUsage]
        states[3] = StateAnswer(row, Raw(b'{"i": 9}'))
        await pilot.press("tab", "tab", "D", "3", "enter")
        await pilot.pause(0.1)
        await show(app, pilot)
        assert "◆3 → ◆2" in text_of(app)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_advice_on_the_task_looks_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        run = await open_run(app, pilot)
        row = run.chosen_row()
        assert row is not None
        link = app.link
        assert isinstance(link, StillLink)
        kept = [CheckpointRow(n, f"c{n}", 6000 * n, T0, 1) for n in range(1, 9)]
        link.answers |= {
            "runs": lambda _: RunsPage([row], NOW),
            "run": lambda _: RunDetail(row, events=events(), checkpoints=kept),
        }
        await pilot.press("a")
        await pilot.pause(0.1)
        agreed("advice", size, app)
        asked = [ask.query for verb, ask in link.asked if verb == "runs"]
        assert asked[-2:] == ["task:research-agent attempts:>1", "task:research-agent"]
        await pilot.press("escape")
        link.answers.clear()
        await pilot.press("a")
        await pilot.pause(0.1)
        await show(app, pilot)
        assert "no advice" in text_of(app)


async def test_a_search_in_no_output_finds_nothing() -> None:
    async with console() as (app, pilot):
        await pilot.press("enter", "slash", *"foo", "enter")
        await show(app, pilot)
        assert "no line of 0 has 'foo'" in text_of(app)
