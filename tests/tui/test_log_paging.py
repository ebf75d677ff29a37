"""A log larger than memory: a window on it, read from the stream wherever the reader goes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headway import bus, subjects
from headway.config import Settings
from headway.history import before, history
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.events import LogChunk
from headway.wire.runs import LogsAsk, LogsPage, StoredLog
from headway_engine.streams import ensure_streams
from headway_tui.link import Link
from headway_tui.logfeed import LogFeed
from headway_tui.model.logs import LogStore, Part
from support.consoles import StillLink
from support.engines import config_for, running_engine
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_ops.local.nats import NatsServer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGE = 3


# --- the window, without a stream


class Stream(NamedTuple):
    """What a stream holds: chunks of attempts after each other, with gaps."""

    parts: list[Part]

    def lines(self, first: int, last: int) -> list[str]:
        """Texts of the chunks of these sequences."""
        return [t for p in self.parts if first <= p.seq <= last for t in p.chunk.lines]

    def gaps(self, first: int, last: int) -> int:
        """Lines that are missing before chunks of these sequences."""
        found, expected = 0, dict[int, int]()
        for p in self.parts:
            if first <= p.seq <= last:
                found += p.chunk.first - expected.get(p.epoch, 1)
            expected[p.epoch] = p.chunk.first + len(p.chunk.lines)
        return found


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    parts: list[Part] = []
    for epoch in range(1, draw(st.integers(1, 4)) + 1):
        line = 1
        for gap, count in draw(
            st.lists(st.tuples(st.sampled_from([0, 0, 0, 2]), st.integers(1, 6)), min_size=1)
        ):
            line += gap
            texts = [f"{epoch}:{n}" for n in range(line, line + count)]
            seq = (parts[-1].seq if parts else 0) + draw(st.integers(1, 3))
            parts.append(Part(epoch, LogChunk(line, texts, NOW), seq))
            line += count
    return Stream(parts)


def step(store: LogStore, stored: list[Part], what: str) -> None:
    """What the feed does when the reader goes there."""
    if what == "older" and store.older:
        above = [p for p in stored if p.seq < store.first_seq]
        store.prepend(above[-PAGE:], older=len(above) > PAGE)
    elif what == "newer" and store.newer:
        below = [p for p in stored if p.seq > store.last_seq]
        store.extend(below[:PAGE], newer=len(below) > PAGE)
    elif what == "first":
        store.move_away()
        store.load(stored[:PAGE], older=False, newer=len(stored) > PAGE)
    elif what == "last":
        store.move_away()
        store.load(stored[-PAGE:], older=len(stored) > PAGE, newer=False)


@given(
    streams(), st.integers(0, 50),
    st.lists(st.sampled_from(["live", "older", "older", "newer", "first", "last"]), max_size=60),
)  # fmt: skip
def test_a_window_shows_what_the_stream_holds_wherever_it_is_moved(
    stream: Stream, begun: int, steps: list[str]
) -> None:
    here = min(begun, len(stream.parts))
    store = LogStore(capacity=20)
    step(store, stream.parts[:here], "last")
    for what in steps:
        if what == "live":
            if here < len(stream.parts):
                store.add(*stream.parts[here])
                here += 1
        else:
            step(store, stream.parts[:here], what)
        check(store, stream, here)
    step(store, stream.parts[:here], "last")
    while store.older:
        step(store, stream.parts[:here], "older")
    last = stream.parts[here - 1].seq if here else 0
    assert store.received == len(stream.lines(0, last))
    assert store.missing == stream.gaps(0, last)


def check(store: LogStore, stream: Stream, here: int) -> None:
    """The window is a stretch of the stream with its gaps, and both its ends are told truly."""
    texts = [line.text for line in store.lines if line.level not in "-!"]
    first, last = store.first_seq, store.last_seq
    assert texts == stream.lines(first, last)
    assert len(store.lines) <= 22 + 8
    newest = stream.parts[here - 1].seq if here else 0
    if not store.newer:
        assert last == newest
    if first:
        above = any(p.seq < first for p in stream.parts)
        assert store.older == above
        gaps = sum(int(li.text.split()[0]) for li in store.lines if li.level == "!")
        assert gaps <= stream.gaps(first, last)
        assert gaps >= stream.gaps(first + 1, last)
    assert store.errors == []


@pytest.mark.parametrize("page", [1, 2, 3])
def test_lines_that_were_sent_again_are_shown_once_wherever_a_page_ends(page: int) -> None:
    def part(seq: int, first: int, count: int) -> Part:
        return Part(1, LogChunk(first, [str(n) for n in range(first, first + count)], NOW), seq)

    stored = [part(1, 1, 3), part(2, 4, 3), part(3, 1, 3), part(4, 4, 4), part(5, 8, 2),
              part(6, 6, 4), part(7, 10, 1)]  # fmt: skip
    store = LogStore()
    store.load(stored[-page:], older=len(stored) > page, newer=False)
    for _ in stored:
        above = [p for p in stored if p.seq < store.first_seq]
        if store.older:
            store.prepend(above[-page:], older=len(above) > page)
    assert not store.older
    assert [line.text for line in store.lines] == [str(n) for n in range(1, 11)]
    assert (store.received, store.missing) == (10, 0)
    store = LogStore(capacity=5)
    store.load(stored[:page], older=False, newer=True)
    for _ in stored:
        below = [p for p in stored if p.seq > store.last_seq]
        store.extend(below[:page], newer=len(below) > page)
    assert not store.newer
    assert store.lines[-1].text == "10"


# --- the stream, read backwards


async def say(nc: bus.Connection, run: str, epoch: int, first: int, *lines: str) -> None:
    at = NOW + timedelta(seconds=first)
    body = encode(LogChunk(first, list(lines), at))
    await nc.publish(subjects.log("default", run, epoch), body)


async def stored(nc: bus.Connection, messages: int) -> None:
    """Until LOGS, which acknowledges nothing, has so many."""

    async def there() -> bool:
        info = await bus.jsapi(nc, f"STREAM.INFO.{subjects.LOGS}", {})
        return info["state"]["messages"] >= messages

    await until(there, 20)


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncGenerator[bus.Connection]:
    nc = await bus.connect(settings_for(nats_server.url), kind="engine", ident="e")
    await ensure_streams(nc)
    yield nc
    await nc.close()


async def test_the_last_messages_below_any_sequence_are_found_among_those_of_others(
    connection: bus.Connection,
) -> None:
    run, other = new_run_id(), new_run_id()
    for n in range(1, 400):
        await say(connection, other, 1, n, "x")
        if n % 7 == 0 or 200 < n < 230:
            await say(connection, run, 1 + n // 200, n, str(n))
    await stored(connection, 399 + 57 + 25)
    subject = subjects.stored_logs("default", run)
    every = [m async for m in history(connection, subjects.LOGS, subject)]
    assert len(every) > 60
    for n in (1, 2, 7, 64, 500):
        found, below = list[int](), 0
        while True:
            page, more = await before(connection, subjects.LOGS, subject, below, n)
            assert page, (n, below)
            assert len(page) <= n
            assert more or page[0].seq == every[0].seq
            found[:0] = [m.seq for m in page]
            below = page[0].seq
            if not more:
                break
        assert found == [m.seq for m in every]
    page, more = await before(connection, subjects.LOGS, subject, 0, 64, max_bytes=200)
    assert more
    assert sum(len(m.data) for m in page) <= 200
    assert await before(connection, subjects.LOGS, subject, every[0].seq, 5) == ([], False)
    nobody = subjects.stored_logs("default", new_run_id())
    assert await before(connection, subjects.LOGS, nobody, 0, 5) == ([], False)


# --- the feed, on a real broker with a real engine


@asynccontextmanager
async def feeding(
    nats: str, database: str, run: str, store: LogStore
) -> AsyncGenerator[tuple[LogFeed, bus.Connection]]:
    """A feed at work, and who says what the run says."""
    async with running_engine(config_for(nats, database)):
        link = Link(settings_for(nats))
        feed = LogFeed(link, run, store, lambda: None)
        nc = await bus.connect(settings_for(nats), kind="agent", ident=("default", "a"))
        tasks = [asyncio.ensure_future(link.run()), asyncio.ensure_future(feed.run())]
        try:
            yield feed, nc
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await nc.close()


async def test_a_log_beyond_memory_is_read_page_by_page_and_live_all_the_while(
    nats_server: NatsServer, database: str
) -> None:
    run, store = new_run_id(), LogStore(capacity=1000)
    nc = await bus.connect(settings_for(nats_server.url), kind="engine", ident="e")
    await ensure_streams(nc)
    for first in range(1, 20_001, 20):
        if first != 6001:  # these 20 lines were dropped on their way
            await say(nc, run, 1, first, *(f"line {n}" for n in range(first, first + 20)))
    await stored(nc, 999)
    async with feeding(nats_server.url, database, run, store) as (feed, agent):
        await until(lambda: store.lines and store.lines[-1].text == "line 20000", 20)
        assert store.older
        assert len(store.lines) <= 1100, "no more is read than is kept"
        while store.older:
            first = store.first_seq
            feed.want_older()
            await until(lambda first=first: store.first_seq < first or not store.older, 20)
            assert len(store.lines) < 10_000
        assert store.lines[0].text == "line 1"
        assert store.missing == 20
        assert store.received == 20_000 - 20
        assert store.newer
        await say(agent, run, 1, 20_001, "said meanwhile")
        await until(lambda: store.received == 20_000 - 19, 20)
        assert store.lines[0].text == "line 1", "the text stands still"
        feed.want_last()
        await until(lambda: not store.newer, 20)
        assert store.lines[-1].text == "said meanwhile"
        await say(agent, run, 1, 20_002, "and live again")
        await until(lambda: store.lines[-1].text == "and live again", 20)
        feed.want_first()
        await until(lambda: store.lines[0].text == "line 1", 20)
        last = store.last_seq
        feed.want_newer()
        await until(lambda: store.last_seq > last, 20)
        numbers = [int(li.text.split()[1]) for li in store.lines if li.level == "I"]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) or 6001 not in numbers
    await nc.close()


# --- how much is asked for at once


class Stored(StillLink):
    """Answers `logs` from a list of chunks, at most so many lines a page."""

    def __init__(self, parts: list[Part], lines: int) -> None:
        super().__init__(Settings())
        self.connected, self.client = True, object()  # type: ignore[assignment]
        self.asks: list[LogsAsk] = []
        self.read = 0
        """Chunks that a server had to look at."""

        def answer(ask: LogsAsk) -> LogsPage:
            self.asks.append(copy(ask))
            below = [p for p in parts if not ask.before or p.seq < ask.before]
            found, room = below[-ask.n :], lines
            self.read += len(found)
            kept: list[Part] = []
            for part in reversed(found):
                room -= len(part.chunk.lines)
                if room < 0 and kept:
                    break
                kept.insert(0, part)
            page = [StoredLog(p.seq, p.epoch, Raw(encode(p.chunk))) for p in kept]
            return LogsPage(page, more=len(kept) < len(below))

        self.answers["logs"] = answer


@pytest.mark.parametrize("size", [1, 20, 1000])
async def test_the_end_is_asked_for_alone_and_the_rest_in_pages_that_fit(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_comes(*_: object) -> AsyncGenerator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr("headway.follow.follow_logs", nothing_comes)
    parts = [Part(1, LogChunk(1 + n * size, [f"{n}"] * size, NOW), n + 1) for n in range(100)]
    link, store = Stored(parts, 8 * 1000), LogStore()
    seen: list[int] = []
    feed = LogFeed(link, new_run_id(), store, lambda: seen.append(len(store.lines)))
    feed.begin()
    task = asyncio.ensure_future(feed.run())
    await until(lambda: not store.older and len(store.lines) == 100 * size, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen[0] == 4 * size
    assert [li.text for li in store.lines] == [f"{n}" for n in range(100) for _ in range(size)]
    assert (store.received, store.missing) == (100 * size, 0)
    assert len(link.asks) <= 16
    assert link.read <= 4 * len(parts)
