"""`--replay-events`: a captured dump of events in the very same screens, as it happened.

What the screens ask is answered from what was played so far; what they listen to is told as the
play comes to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Raw, Struct

from headway import subjects
from headway.bundle.offline import NoConnection
from headway.errors import NoSuchRun, Refused
from headway.query.asked import query_of
from headway.query.evaluate import matches
from headway.states import TERMINAL
from headway.wire import encode
from headway.wire.enqueue import Ended
from headway.wire.events import RunEvents, gist
from headway.wire.runs import (
    CheckpointRow,
    LogsAsk,
    LogsPage,
    ResultsAnswer,
    ResultsAsk,
    RunAsk,
    RunDetail,
    RunRow,
    RunsPage,
    RunsQuery,
    SpansAsk,
    SpansPage,
    StateAnswer,
    StateAsk,
    StoredLog,
    StoredSpans,
)
from headway_tui.link import Link
from headway_tui.model.rows import moved
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from headway.client import Client
    from headway.config import Settings
    from headway.wire.events import Event, LogChunk, SpanChunk
    from headway_tui.dumps import Moment

T = TypeVar("T")

LONGEST = 2.0
"""Seconds for which nothing happens in a play at most, however long it took."""
DETAIL_EVENTS = 500
_ENDED = frozenset(s.status for s in TERMINAL)


class _Message:
    """As much of a message of NATS as is read."""

    def __init__(self, subject: str, data: bytes, seq: int) -> None:
        self.subject, self.data = subject, data
        self.headers = {"Nats-Sequence": str(seq)}


class _Subscription:
    """One listener."""

    def __init__(self, among: list[_Subscription], pattern: str, cb: Any) -> None:
        self.pattern, self.cb, self._among = pattern.split("."), cb, among
        among.append(self)

    def hears(self, subject: str) -> bool:
        """Is it meant?"""
        parts = subject.split(".")
        return len(parts) == len(self.pattern) and all(
            p in {"*", s} for p, s in zip(self.pattern, parts, strict=True)
        )

    async def unsubscribe(self) -> None:
        """Hear nothing more."""
        if self in self._among:
            self._among.remove(self)


class Stage(NoConnection):
    """Where a client has its connection: what is played is told here."""

    shown_url = "a dump"

    def __init__(self) -> None:
        self._listeners: list[_Subscription] = []

    async def subscribe(self, subject: str, **how: Any) -> Any:
        """Hear what is played."""
        return _Subscription(self._listeners, subject, how["cb"])

    async def tell(self, subject: str, body: Struct, seq: int) -> None:
        """Tell those who listen."""
        message = _Message(subject, encode(body), seq)
        for one in [s for s in self._listeners if s.hears(subject)]:
            await one.cb(message)


class PlayedClient:
    """As much of a Client as looking takes: what was played so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.namespace = settings, settings.namespace
        self.connection = Stage()
        self.rows: dict[str, RunRow] = {}
        self.events: dict[str, list[Event]] = {}
        self.logs: dict[str, list[tuple[int, int, LogChunk]]] = {}
        self.spans: dict[str, list[tuple[int, int, SpanChunk]]] = {}
        self.states: dict[str, dict[int, tuple[CheckpointRow, Raw]]] = {}
        self.now: datetime | None = None
        self._seq = 0
        self._verbs: dict[str, Callable[[Any], Any]] = {
            "runs": self._runs, "run": self._run, "events": self._page, "result": self._result,
            "checkpoints": lambda ask: self._checkpoints(self._one(ask.run)), "logs": self._logs,
            "spans": self._spans, "state": self._state,
        }  # fmt: skip

    async def play(self, moment: Moment) -> None:
        """It happens now."""
        self.now, self._seq = moment.at, self._seq + 1
        line, ns = moment.line, self.namespace
        run = line.run
        if (event := line.event) is not None:
            known = self.events.setdefault(run, [])
            if known and event.n <= known[-1].n:
                return
            known.append(event)
            row = self.rows.get(run)
            if row is None:
                status = (event.source or event.target or "running").lower()
                queue = str(event.data.get("queue") or "")
                row = RunRow(run, line.task, status, queue, event.at, n=event.n - 1)
            self.rows[run] = moved(row, event)
            body = RunEvents(run, ns, line.task or row.task, [event], row.queue)
            await self.connection.tell(subjects.live_event(ns, run), body, self._seq)
            return
        if run not in self.rows:  # a dump may hold its output alone
            self.rows[run] = RunRow(run, line.task, "running", "", moment.at)
            self.events[run] = []
        if (chunk := line.chunk) is not None:
            self.logs.setdefault(run, []).append((self._seq, line.attempt, chunk))
            subject = subjects.live_log(ns, run, line.attempt)
            await self.connection.tell(subject, chunk, self._seq)
        elif (spans := line.spans) is not None:
            self.spans.setdefault(run, []).append((self._seq, line.attempt, spans))
            subject = subjects.live_span(ns, run, line.attempt)
            await self.connection.tell(subject, spans, self._seq)
        elif (point := line.checkpoint) is not None:
            self.states.setdefault(run, {})[point.number] = (point, line.state)

    async def close(self) -> None:
        """Nothing is open."""

    async def api(self, verb: str, body: Struct | None, answer_type: type[T]) -> T:
        """The answer that an engine would have given then. Raises Refused and NoSuchRun."""
        answer = self._verbs.get(verb)
        if answer is None:
            why = f"{verb} needs an engine, and this is a dump that is played"
            raise Refused(why, "not_served")
        return cast("T", answer(body))

    async def run(self, run: str) -> RunDetail:
        """Everything about one run."""
        return self._run(RunAsk(run))

    async def ask_results(self, runs: list[str]) -> ResultsAnswer:
        """Which of these have ended?"""
        return self._result(ResultsAsk(runs))

    # --- verbs

    def _one(self, text: str) -> str:
        found = [run for run in self.rows if run.startswith(text.upper())]
        if len(found) != 1:
            raise NoSuchRun(f"no run {text[:30]} in what was played so far", "not_found")
        return found[0]

    def _runs(self, ask: RunsQuery) -> RunsPage:
        assert self.now is not None
        asked, newest = query_of(ask), ask.sort == "newest"
        rows = sorted(self.rows.values(), key=lambda row: row.run, reverse=newest)
        rows = [r for r in rows if not ask.ids or r.run in ask.ids]
        found = [r for r in rows if matches(asked, r, self.now)]
        after = ask.after
        later = [r for r in found if not after or (r.run < after if newest else r.run > after)]
        page = later[: ask.n]
        more = len(later) > len(page)
        return RunsPage(page, self.now, more, next=page[-1].run if more else "",
                        total=len(found) if ask.total else None)  # fmt: skip

    def _run(self, ask: RunAsk) -> RunDetail:
        run = self._one(ask.run)
        return RunDetail(self.rows[run], events=gist(self.events[run], DETAIL_EVENTS),
                         checkpoints=self._checkpoints(run)[-DETAIL_EVENTS:])  # fmt: skip

    def _page(self, ask: RunAsk) -> list[Event]:
        return [e for e in self.events[self._one(ask.run)] if e.n > ask.after][: ask.n]

    def _checkpoints(self, run: str) -> list[CheckpointRow]:
        return [
            CheckpointRow(int(e.data.get("number") or 0), str(e.data.get("name") or ""),
                          int(e.data.get("size") or 0), e.at, e.epoch)
            for e in self.events[run] if e.kind == "checkpoint"
        ]  # fmt: skip

    def _result(self, ask: ResultsAsk) -> ResultsAnswer:
        rows = [self.rows[run] for run in ask.runs if run in self.rows]
        return ResultsAnswer([Ended(r.run, r.status) for r in rows if r.status in _ENDED])

    def _logs(self, ask: LogsAsk) -> LogsPage:
        every = [
            StoredLog(seq, epoch, Raw(encode(chunk)))
            for seq, epoch, chunk in self.logs.get(self._one(ask.run), ())
            if not ask.attempt or epoch == ask.attempt
        ]
        if ask.before is not None:
            found = [one for one in every if not ask.before or one.seq < ask.before]
            return LogsPage(found[-ask.n :], len(found) > ask.n)
        found = [one for one in every if one.seq > ask.after]
        return LogsPage(found[: ask.n], len(found) > ask.n)

    def _spans(self, ask: SpansAsk) -> SpansPage:
        return SpansPage([
            StoredSpans(seq, epoch, Raw(encode(chunk)))
            for seq, epoch, chunk in self.spans.get(self._one(ask.run), ())
            if seq > ask.after and (not ask.attempt or epoch == ask.attempt)
        ])  # fmt: skip

    def _state(self, ask: StateAsk) -> StateAnswer:
        run = self._one(ask.run)
        kept = self.states.get(run, {})
        row, state = kept.get(ask.number or max(kept, default=0), (None, Raw()))
        if row is None:
            told = f"the state of checkpoint {ask.number} of run {run} is not in this dump"
            raise Refused(f"{told}: `headway watch --dump` writes states too", "left_out")
        return StateAnswer(row, state)


class PlayedLink(Link):
    """Always connected; lives as fast as it is told to."""

    def __init__(
        self, settings: Settings, moments: Sequence[Moment], name: str, speed: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        super().__init__(settings)
        self._moments, self._name, self._speed, self._sleep = moments, name, speed, sleep
        self._stage = PlayedClient(settings)
        self.as_of = moments[0].at
        self._say("")

    def _say(self, how: str) -> None:
        at = f"{self.as_of:%Y-%m-%d %H:%M:%S}" if self.as_of else ""
        self.offline = safe(f"dump {self._name} at x{self._speed:g}, {at} UTC{how}", 300)

    async def run(self) -> None:
        """Connected at once; plays, then stays at the end until it is cancelled."""
        await self._stage.play(self._moments[0])
        self.client = cast("Client", self._stage)
        self.connected, self.lives = True, 1
        self.changed.set()
        for pause, moment in self.pauses():
            if pause > 0:
                await self._sleep(pause)
            self.as_of = moment.at
            self._say("")
            await self._stage.play(moment)
        self._say(", its end")
        await asyncio.Event().wait()

    def pauses(self) -> Iterable[tuple[float, Moment]]:
        """What follows the first moment, each with the seconds to wait for it."""
        at = self._moments[0].at
        for moment in self._moments[1:]:
            yield min(LONGEST, (moment.at - at).total_seconds() / self._speed), moment
            at = moment.at

    def silent(self) -> float:
        """No beat is expected."""
        return 0.0

    async def hear(self, subject: str, on_message: Callable[[Any], None]) -> Any:
        """What is played."""

        async def heard(message: Any) -> None:
            on_message(message)

        return await self._stage.connection.subscribe(subject, cb=heard)
