"""A search in output that is not in memory: it goes on in what is stored, and can be stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headway.bundle.format import Chunk, member
from headway.errors import NotReachable
from headway.wire import encode
from headway.wire.events import LogChunk
from headway.wire.runs import LogsAsk, LogsPage, StoredLog
from headway_tui.logsearch import find_stored
from headway_tui.model.logs import LogStore, Part, around
from headway_tui.widgets import log_tail
from support import bundled as b
from support.consoles import T0, show
from support.offlines import offline
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from headway_tui.screens.run import RunScreen

CHUNKS = 1200
LINES = 5
NEEDLES = (3, 10, 900)
"""Chunks with the line that is looked for."""


def texts(n: int) -> list[str]:
    """The lines of a chunk."""
    return [f"INFO {'needle' if n in NEEDLES and i == 2 else 'hay'} {n}.{i}" for i in range(LINES)]


def long_run() -> bytes:
    """A bundle with more output than memory is given here."""
    chunks = [Chunk(1, Raw(encode(LogChunk(1 + (n - 1) * LINES, texts(n), T0))))
              for n in range(1, CHUNKS + 1)]  # fmt: skip
    return b.packed(b.members() | {member(b.RUN, "logs.jsonl"): b.lines(chunks)})


class Pages:
    """A link that has chunks, three to a page."""

    def __init__(self, chunks: int) -> None:
        self.chunks, self.asked = chunks, 0

    async def ask(self, verb: str, ask: LogsAsk, kind: Any) -> LogsPage:
        """A page of `logs`."""
        self.asked += 1
        every = range(1, self.chunks + 1)
        if ask.before is not None:
            every = [n for n in every if n < ask.before]
            some, more = every[-3:], len(every) > 3
        else:
            every = [n for n in every if n > ask.after]
            some, more = every[:3], len(every) > 3
        logs = [StoredLog(n, 1, Raw(encode(LogChunk(n, texts(n), T0)) if n != 5 else b"{}"))
                for n in some]  # fmt: skip
        return LogsPage(logs, more)


async def found(seq: int, step: int, told: list[int] | None = None) -> tuple[int, int] | None:
    """Where a needle is next, and how many lines were looked at."""
    link: Any = Pages(20)
    seen = told if told is not None else []
    hit = await find_stored(
        link, b.RUN, lambda line: "needle" in line, seq, step, lambda n, _: seen.append(n)
    )
    return None if hit is None else (hit.seq, hit.lines)


async def test_pages_are_searched_in_both_directions_and_told_of() -> None:
    told: list[int] = []
    assert await found(20, -1, told) == (10, 50)
    assert told == [15, 30, 45]
    assert await found(10, -1) == (3, 30)  # one chunk cannot be read
    assert await found(3, -1) is None
    assert await found(3, 1) == (10, 30)
    assert await found(10, 1) is None


def test_a_chunks_lines_are_known_by_its_sequence() -> None:
    store = LogStore(capacity=10)
    parts = [Part(1, LogChunk(n * LINES, texts(n), T0), n) for n in (7, 8)]
    store.load(parts, older=True, newer=False)
    assert [store.line(n) is not None for n in store.rows_of(8)] == [True] * LINES
    store.prepend([Part(1, LogChunk(1, texts(2), T0), 3)], older=False)
    first = store.line(store.rows_of(3)[0])
    assert first is not None
    assert first.text == "INFO hay 2.0"
    assert not store.rows_of(9)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 29),
       st.integers(20, 100))  # fmt: skip
def test_around_a_chunk_is_what_there_is_room_for(sizes: list[int], at: int, room: int) -> None:
    parts = [Part(1, LogChunk(1, ["x"] * n, T0), i) for i, n in enumerate(sizes)]
    at = min(at, len(parts) - 1)
    seen = around(parts, at, room)
    assert parts[at] in seen
    first = parts.index(seen[0])
    assert seen == parts[first : first + len(seen)]
    assert sum(len(p.chunk.lines) for p in seen) <= room
    if sum(sizes) <= room:
        assert seen == parts


@pytest.fixture
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogStore.__init__, "__defaults__", (200,))


def hostile_run() -> bytes:
    """Output on which a search that tries all ways never ends."""
    chunks = [Chunk(1, Raw(encode(LogChunk(1 + n * LINES, ["a" * 1990 + f"! {n}"] * LINES, T0))))
              for n in range(400)]  # fmt: skip
    return b.packed(b.members() | {member(b.RUN, "logs.jsonl"): b.lines(chunks)})


@pytest.mark.usefixtures("_little")
@pytest.mark.parametrize("expression", ["/(a+)+$/", "/(.*a){12}c/"])
async def test_no_expression_holds_the_console_up(expression: str) -> None:
    async with offline(hostile_run()) as (app, pilot, run):
        assert run.logs.store.older
        run.logs.store.add(1, LogChunk(2001, ["a" * 1990 + "!"] * 300, T0), 401)
        await pilot.press("slash", *expression, "enter")
        await until(lambda: "nothing else that is stored has" in text_of(app), 20, what="no hit")
        run.logs.do_keep_hits()
        await until(lambda: run.logs.paint() or not run.logs.dirty, 20, what="all are sifted")
        assert run.logs.count() == 0


async def test_a_search_in_memory_that_takes_long_lets_keys_be_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_tail, "SLICE", 0.0)
    async with offline(long_run()) as (app, pilot, run):
        await pilot.press("slash", *"needle", "enter")
        await until(lambda: hit_of(run) == "INFO needle 900.2", 20, what="the newest")
        assert run.logs.searching is None
        run.search.value = "nowhere"
        run.do_search()
        await pilot.press(*"nowhere")
        assert not run.logs.search("nowhere") or run.logs.searching
        assert run.leave()
        assert run.logs.searching is None
        assert app.screen is run
        await pilot.press("escape", "slash", *"/no(w+)+here/", "enter")
        await until(lambda: "no line of 6,000 has" in text_of(app), 20, what="it is said")


def hit_of(run: RunScreen) -> str:
    """The line that was found."""
    line = run.logs.store.line(run.logs.hit) if run.logs.hit is not None else None
    return line.text if line is not None else ""


@pytest.mark.usefixtures("_little")
async def test_the_search_goes_on_beyond_memory_and_the_hit_is_shown() -> None:
    async with offline(long_run()) as (app, pilot, run):
        assert len(run.logs.store.lines) < 1000
        await pilot.press("slash", *"needle", "enter")
        await until(lambda: hit_of(run) == "INFO needle 900.2", 20, what="the newest")
        await show(app, pilot)
        assert "INFO needle 900.2" in text_of(app)
        assert not run.logs.following
        for text in ("10.2", "3.2"):
            await pilot.press("N")
            await until(lambda text=text: hit_of(run) == f"INFO needle {text}", 20, what=text)
        await pilot.press("N")
        await show(app, pilot)
        assert "no further line that way" in text_of(app)
        for text in ("10.2", "900.2"):
            await pilot.press("n")
            await until(lambda text=text: hit_of(run) == f"INFO needle {text}", 20, what=text)
        await pilot.press("n")
        await until(lambda: "nothing else that is stored has" in text_of(app), 20, what="no more")
        await pilot.press("G")
        await until(lambda: run.logs.store.line(run.logs.store.end - 1) == run.logs.chosen(), 20)


@pytest.mark.usefixtures("_little")
async def test_a_search_is_stopped_by_escape_and_says_what_failed() -> None:
    async with offline(long_run()) as (app, pilot, run):
        ask, held = app.link.ask, asyncio.Event()

        async def slow(verb: str, body: Any, kind: Any) -> Any:
            await held.wait()
            if verb == "logs" and body.before < 1100:
                raise NotReachable("nobody answers")
            return await ask(verb, body, kind)

        app.link.ask = slow
        await pilot.press("slash", *"nothing", "enter", "escape")
        await show(app, pilot)
        assert "the search was stopped" in text_of(app)
        assert app.screen is run
        held.set()
        await pilot.press("slash", "enter")
        await until(lambda: "not finished: nobody answers" in text_of(app), 20, what="it is said")
        assert hit_of(run) == ""


async def test_what_was_said_of_the_search_before_is_not_left_standing() -> None:
    async with offline(long_run()) as (app, pilot, _):
        await pilot.press("slash", *"nowhere", "enter")
        await until(lambda: "has 'nowhere'" in text_of(app), 20, what="it is said")
        await pilot.press("slash", "ctrl+u", *"needle", "enter")
        await show(app, pilot)
        assert "nowhere" not in text_of(app)
