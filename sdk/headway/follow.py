"""Follow one run: stored first, then live, without a consumer on the server.

Subscribed before reading, joined by number (events) or by stream sequence (logs). A hole that does
not close within 2 s is read from the store; so is everything after a reconnect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from headway import subjects
from headway.errors import HeadwayError, NotReachable, Refused
from headway.history import history, sequence_of
from headway.lines import LineNumbers
from headway.states import TERMINAL
from headway.steadynats import settled
from headway.wire import Malformed, decode, events
from headway.wire.runs import LogsAsk, LogsPage, RunAsk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from types import TracebackType

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from headway.client import Client

HOLE = 2.0
"""Seconds for which a missing number may still arrive by itself."""
LOOK_AGAIN = 30.0
"""Seconds of silence after which the store is asked whether something was missed."""
LINGER = 0.3
"""Seconds of silence after a run's end that end its log, if the end does not say its last line."""
AGAIN_FROM = 5000
"""Messages of LOGS, of all runs, that are read once more after a link was away."""
PAGE = 1000
CAPACITY = 10_000
"""Messages that may wait for a slow reader; beyond that the store is read instead."""

_ENDED = {s.value for s in TERMINAL}


class RunLog(NamedTuple):
    """A chunk of a run's output. `missing`: lines before it that did not get here."""

    epoch: int
    chunk: events.LogChunk
    missing: int
    seq: int = 0
    """Its sequence in the stream; 0 = there is none."""


class _End(NamedTuple):
    """The end of a run, as far as its output goes."""

    epoch: int = 0
    last: int | None = None
    """The number of the last line of that attempt, if the event says it."""


class _Live:
    """A subscription whose messages wait here; `lost` after a reconnect or an overflow."""

    def __init__(self, client: Client, *to: str) -> None:
        self._nc, self._subjects = client.connection, to
        self._subs: list[Subscription] = []
        self.messages: deque[Msg] = deque()
        self.event = asyncio.Event()
        self.lost = False
        self._unhook = self._nc.when_back(self._on_back)

    def _on_back(self) -> None:
        self.lost = True
        self.event.set()

    async def _on_message(self, msg: Msg) -> None:
        if len(self.messages) >= CAPACITY:
            self.messages.clear()
            self.lost = True
        self.messages.append(msg)
        self.event.set()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - False, not an error
        """True if something arrived (or was lost) within that time."""
        if not self.messages and not self.lost:
            self.event.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self.event.wait()
            except TimeoutError:
                return False
        return True

    async def __aenter__(self) -> _Live:
        for s in self._subjects:
            self._subs.append(await self._nc.subscribe(s, cb=self._on_message))
        await settled(self._nc)  # the server knows of it before history is read
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unhook()
        for s in self._subs:
            if not self._nc.is_closed:
                await s.unsubscribe()


async def follow_events(client: Client, run: str, after: int) -> AsyncGenerator[events.Event]:
    """Events with n > after, in order, without gaps or doubles, until the run has ended."""
    n, early = after, dict[int, events.Event]()
    async with _Live(client, subjects.live_event(client.namespace, run)) as live:
        look = True
        while True:
            if look:
                try:
                    for e in await stored_events(client, run, n):
                        early[e.n] = e
                except HeadwayError:
                    # Asked again after the next silence; what comes live is shown meanwhile.
                    if not early and n == after and not client.connection.is_connected:
                        raise
                look = False
            while (e := early.pop(n + 1, None)) is not None:
                n = e.n
                yield e
                if e.target in _ENDED:
                    return
            if not await live.wait(HOLE if early else LOOK_AGAIN) or live.lost:
                live.lost, look = False, True
            while live.messages:
                msg = live.messages.popleft()
                try:
                    body = decode(events.RUN_EVENTS, msg.data)
                except Malformed:
                    continue
                early.update((e.n, e) for e in body.events if e.n > n)


async def stored_events(client: Client, run: str, after: int = 0) -> list[events.Event]:
    """All recorded events above number `after`, by pages; raises Refused and NotReachable."""
    found: list[events.Event] = []
    while True:
        page = await client.api("events", RunAsk(run=run, after=after, n=PAGE), list[events.Event])
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1].n


async def stored_logs(
    client: Client, run: str, after: int = 0, attempt: int = 0
) -> AsyncGenerator[tuple[int, int, bytes]]:
    """Stored log chunks after a sequence: (sequence, epoch, body), oldest first.

    The engine reads them for us. Where none answers (or one that is too old), they are read from
    the stream, if this user may. Raises NotReachable.
    """
    more = True
    while more:
        try:
            ask = LogsAsk(run, after, attempt)
            page = await client.api("logs", ask, LogsPage)
        except (NotReachable, Refused) as e:
            if isinstance(e, Refused) and e.code != "not_served":
                raise
            async for found in _from_stream(client, run, after, attempt, e):
                yield found
            return
        for one in page.logs:
            after = one.seq
            yield one.seq, one.epoch, bytes(one.chunk)
        more = page.more


async def _from_stream(
    client: Client, run: str, after: int, attempt: int, unanswered: HeadwayError
) -> AsyncGenerator[tuple[int, int, bytes]]:
    subject = subjects.stored_logs(client.namespace, run, attempt or None)
    try:
        async for m in history(client.connection, subjects.LOGS, subject, after + 1):
            yield m.seq, subjects.epoch_of_log(m.subject), m.data
    except NotReachable:
        # It is the engine that is missing: without it, this user reads nothing.
        raise unanswered from None


async def follow_logs(
    client: Client, run: str, after: int = 0, known: Mapping[int, int] | None = None
) -> AsyncGenerator[RunLog]:
    """Log chunks, stored and live, until the run has ended and its last line was given.

    Where that line does not come within 2 s of silence, the last item has no lines and says how
    many are missing. `after`: only chunks with a sequence above it, and `known`: by epoch, how many
    lines came before them.
    """
    ns = client.namespace
    end: _End | None = None
    numbers = LineNumbers(known)
    last_seq = after

    def to_log(seq: int, epoch: int, data: bytes) -> RunLog | None:
        try:
            chunk = decode(events.LOG_CHUNK, data)
        except Malformed:
            return None
        missing = numbers.missing(epoch, chunk)
        return None if missing is None else RunLog(epoch, chunk, missing, seq)

    tail = subjects.live_log(ns, run)
    async with _Live(client, tail, subjects.live_event(ns, run)) as live:
        look, quiet, back = True, False, 0
        while True:
            if look:
                end = end or await _end_of(client, run)
                async for seq, epoch, data in stored_logs(client, run, max(0, last_seq - back)):
                    last_seq = seq
                    if line := to_log(seq, epoch, data):
                        yield line
                look = False
            if end is not None:
                missing = 0 if end.last is None else end.last + 1 - numbers.next.get(end.epoch, 1)
                if end.last is not None and missing <= 0:
                    return
                if quiet:
                    if missing:
                        nothing = events.LogChunk(end.last or 0, [], datetime.now(UTC))
                        yield RunLog(end.epoch, nothing, missing)
                    return
            wait = LOOK_AGAIN if end is None else LINGER if end.last is None else HOLE
            if not await live.wait(wait) or live.lost:
                # What is stored by now is read before what came live since: it is older. And a
                # server that was killed has forgotten its last messages: others have their numbers.
                back = AGAIN_FROM if live.lost else 0
                quiet, look, live.lost = end is not None and not live.lost, True, False
                continue
            while live.messages and not live.lost:
                msg = live.messages.popleft()
                if not msg.subject.startswith("hw.live.log."):
                    end = end or _end_in(msg.data)
                    continue
                seq = sequence_of(msg)
                last_seq = seq or last_seq
                if line := to_log(seq, subjects.epoch_of_log(msg.subject), msg.data):
                    yield line


def _end_in(data: bytes) -> _End | None:
    try:
        return _end_among(decode(events.RUN_EVENTS, data).events)
    except Malformed:
        return None


def _end_among(found: list[events.Event]) -> _End | None:
    for e in found:
        if e.target in _ENDED:
            last = e.data.get("lines")
            return _End(e.epoch, last if isinstance(last, int) else None)
    return None


async def _end_of(client: Client, run: str) -> _End | None:
    """The end of a run as it is stored; None while it goes on, or nobody answers."""
    try:
        answer = await client.ask_results([run])
        if not any(e.run == run for e in answer.ended):
            return None
    except HeadwayError:
        return None
    try:
        return _end_among((await client.run(run)).events) or _End()
    except HeadwayError:
        return _End()
