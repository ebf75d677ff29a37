"""A client that asks nobody: it answers the api's reading verbs from a bundle.

Screens and commands that look at a run take it in place of a `Client`. Nothing can be changed:
every other verb is refused.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from headway.bundle.format import BadBundle
from headway.errors import NoSuchRun, Refused
from headway.ids import trace_of
from headway.query.asked import query_of
from headway.query.evaluate import matches
from headway.states import TERMINAL
from headway.wire import INLINE_LIMIT, BlobRef
from headway.wire.api import Info
from headway.wire.bundles import BundleAsk, BundlePage
from headway.wire.enqueue import Ended
from headway.wire.events import gist
from headway.wire.runs import (
    CheckpointRow,
    Kin,
    LogsAsk,
    LogsPage,
    MarkRow,
    ResultsAnswer,
    ResultsAsk,
    RunAsk,
    RunDetail,
    RunsPage,
    RunsQuery,
    SpansAsk,
    SpansPage,
    StateAnswer,
    StateAsk,
    StoredLog,
    StoredSpans,
    UsageAsk,
    UsageRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headway.bundle.format import Chunk
    from headway.bundle.reader import Bundle
    from headway.config import Settings
    from headway.wire.events import Event

T = TypeVar("T")

DETAIL_ROWS = 500
PAGE_BYTES = 400 * 1024
_ENDED = frozenset(s.status for s in TERMINAL)


class _Nothing:
    """A subscription on which nothing ever arrives."""

    async def unsubscribe(self) -> None:
        """Nothing to do."""


class NoConnection:
    """Where a client has its NATS connection: always there, and silent."""

    is_connected = True
    is_closed = False
    denied = ""
    shown_url = "a bundle"

    async def subscribe(self, *_: Any, **__: Any) -> _Nothing:
        """Nothing will come."""
        return _Nothing()

    async def flush(self, *_: Any, **__: Any) -> None:
        """Nothing is on its way."""

    def when_back(self, _: Callable[[], None]) -> Callable[[], None]:
        """It never goes away."""
        return lambda: None

    when_away = when_back


class OfflineClient:
    """As much of a Client as looking takes."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle, self.settings = bundle, settings
        self.namespace = bundle.manifest.namespace
        self.connection = NoConnection()
        self._events: dict[str, list[Event]] = {}
        self._pages: dict[tuple[str, str], tuple[int, Iterator[tuple[Chunk, Any]]]] = {}
        """(run, what) to where the last page ended, and what comes after it."""
        self._verbs: dict[str, Callable[[Any], Any]] = {
            "info": self._info, "runs": self._runs, "run": self._run, "events": self._page_events,
            "checkpoints": self._checkpoints, "state": self._state, "result": self._result,
            "logs": self._logs, "spans": self._spans, "usage": self._usage, "bundle": self._bundle,
        }  # fmt: skip

    async def close(self) -> None:
        """Close the file."""
        self.bundle.close()

    async def api(self, verb: str, body: msgspec.Struct | None, answer_type: type[T]) -> T:
        """The answer that an engine would give. Raises Refused, NoSuchRun and BadBundle."""
        answer = self._verbs.get(verb)
        if answer is None:
            raise Refused(
                f"{verb} needs an engine, and this is an offline bundle, which is only looked at:"
                " `headway fork --bundle FILE` makes a new run of it",
                "refused",
            )
        return cast("T", answer(body))

    async def info(self) -> Info:
        """Who answers: the file."""
        return await self.api("info", None, Info)

    async def run(self, run: str) -> RunDetail:
        """Everything about one run."""
        return await self.api("run", RunAsk(run), RunDetail)

    async def ask_results(self, runs: list[str]) -> ResultsAnswer:
        """Which of these have ended?"""
        return await self.api("result", ResultsAsk(runs), ResultsAnswer)

    async def state(self, run: str, number: int = 0) -> tuple[CheckpointRow, bytes]:
        """A checkpoint (0 = the last) with its state."""
        ask = StateAsk(run, number)
        answer = await self.api("state", ask, StateAnswer)
        if not answer.key:
            return answer.row, bytes(answer.state)
        ref = BlobRef(answer.key, answer.row.size, answer.row.sha256)
        return answer.row, await self.fetch_blob(ref)

    async def fetch_blob(self, ref: BlobRef) -> bytes:
        """A body that is too large to stand in an answer."""
        run, _, name = ref.key.partition("/")
        body = self.bundle.body(run, name)
        if sha256(body).hexdigest() != ref.sha256:
            raise BadBundle(f"{name} is not the body that is meant")
        return body

    # --- verbs

    def _one(self, text: str) -> str:
        found = [run for run in self.bundle.runs if run.startswith(text.upper())]
        if len(found) != 1:
            raise NoSuchRun(f"no run {text[:30]} in this bundle", "not_found")
        return found[0]

    def _info(self, _: object) -> Info:
        m = self.bundle.manifest
        return Info("bundle", m.engine, "bundle", store_ok=True, durability="fsynced",
                             now=m.exported_at)  # fmt: skip

    def _runs(self, ask: RunsQuery) -> RunsPage:
        now = self.bundle.manifest.exported_at
        asked = query_of(ask)
        rows = sorted(
            (self.bundle.run(run).row for run in self.bundle.runs),
            key=lambda row: row.run,
            reverse=ask.sort == "newest",
        )
        found = [row for row in rows if matches(asked, row, now)]
        later = [
            r for r in found
            if not ask.after or (r.run < ask.after if ask.sort == "newest" else r.run > ask.after)
        ]  # fmt: skip
        page = later[: ask.n]
        more = len(later) > len(page)
        return RunsPage(
            page, now, more, next=page[-1].run if more else "",
            total=len(found) if ask.total else None,
        )  # fmt: skip

    def _run(self, ask: RunAsk) -> RunDetail:
        run, bundle = self._one(ask.run), self.bundle
        file = bundle.run(run)
        payload, payload_ref = self._body(run, "payload.json")
        result, result_ref = self._body(run, "result.json")
        marks = [
            MarkRow(m.key, m.kind, m.fn, m.status, m.epoch, m.at, m.token, m.size)
            for m in bundle.marks(run)
        ]
        marks.sort(key=lambda m: (m.at, m.key))
        spec = bundle.task(run).spec
        return RunDetail(
            replace(file.row), payload, payload_ref, result, result_ref,
            gist(self._all_events(run), DETAIL_ROWS), bundle.checkpoints(run)[-DETAIL_ROWS:],
            marks[-DETAIL_ROWS:], file.why, file.budget, trace_of(file.trace, file.root or run),
            Kin(sum(bundle.run(other).row.origin == run for other in bundle.runs)),
            spec and spec.policy(), spec.variables() if spec else (),
        )  # fmt: skip

    def _body(self, run: str, name: str) -> tuple[Raw, BlobRef | None]:
        if not self.bundle.has(run, name):
            return Raw(b""), None
        size = self.bundle.size(run, name)
        if size > INLINE_LIMIT:
            return Raw(b""), BlobRef(f"{run}/{name}", size, self.bundle.digest(run, name))
        return Raw(self.bundle.body(run, name)), None

    def _all_events(self, run: str) -> list[Event]:
        if run not in self._events:
            self._events[run] = list(self.bundle.events(run))
        return self._events[run]

    def _page_events(self, ask: RunAsk) -> list[Event]:
        events = self._all_events(self._one(ask.run))
        return [e for e in events if e.n > ask.after][: ask.n]

    def _checkpoints(self, ask: RunAsk) -> list[CheckpointRow]:
        return self.bundle.checkpoints(self._one(ask.run))

    def _state(self, ask: StateAsk) -> StateAnswer:
        run = self._one(ask.run)
        rows = self.bundle.checkpoints(run)
        row = next((c for c in rows if c.number == ask.number), None)
        if not ask.number and rows:
            row = rows[-1]
        if row is None:
            raise NoSuchRun(f"run {run} has no checkpoint {ask.number}", "not_found")
        name = f"states/{row.number}.json"
        if not self.bundle.has(run, name):
            raise Refused(
                f"the state of checkpoint {row.number} is not in this bundle"
                + (" (--no-state)" if "state" in self.bundle.manifest.left_out else ""),
                "left_out",
            )
        state, ref = self._body(run, name)
        if ref is None:
            return StateAnswer(row, state)
        # With a secret taken out it is another body than the one that was saved.
        return StateAnswer(replace(row, size=ref.size, sha256=ref.sha256), key=ref.key)

    def _result(self, ask: ResultsAsk) -> ResultsAnswer:
        answer = ResultsAnswer()
        for run in ask.runs:
            if run not in self.bundle.runs:
                answer.others[run] = "unknown"
                continue
            row = self.bundle.run(run).row
            if row.status not in _ENDED:
                answer.others[run] = row.status
                continue
            result, ref = self._body(run, "result.json")
            answer.ended.append(Ended(run, row.status, result, ref, row.error))
        return answer

    def _page(
        self, what: str, read: Callable[[str], Iterator[tuple[Chunk, Any]]], ask: Any
    ) -> tuple[list[tuple[int, Chunk]], bool]:
        """Lines after a number; whoever reads on from the last page reads nothing twice."""
        run = self._one(ask.run)
        at, rest = self._pages.pop((run, what), (-1, iter(())))
        if at != ask.after:
            at, rest = 0, read(run)
        found: list[tuple[int, Chunk]] = []
        size = 0
        for one, _ in rest:
            at += 1
            if at <= ask.after or (ask.attempt and one.epoch != ask.attempt):
                continue
            found.append((at, one))
            size += len(bytes(one.chunk))
            if size > PAGE_BYTES or len(found) >= ask.n:
                self._pages[run, what] = (at, rest)
                return found, True
        return found, False

    def _logs(self, ask: LogsAsk) -> LogsPage:
        if ask.before is not None:
            found, more = self._last_logs(ask, ask.before)
        else:
            found, more = self._page("logs", self.bundle.logs, ask)
        return LogsPage([StoredLog(at, one.epoch, one.chunk) for at, one in found], more)

    def _last_logs(self, ask: LogsAsk, below: int) -> tuple[list[tuple[int, Chunk]], bool]:
        """The last lines with a number below one, and whether there are older ones."""
        found: deque[tuple[int, Chunk]] = deque()
        size, more = 0, False
        for at, (one, _) in enumerate(self.bundle.logs(self._one(ask.run)), 1):
            if below and at >= below:
                break
            if ask.attempt and one.epoch != ask.attempt:
                continue
            found.append((at, one))
            size += len(bytes(one.chunk))
            while len(found) > ask.n or (size > PAGE_BYTES and len(found) > 1):
                size -= len(bytes(found.popleft()[1].chunk))
                more = True
        return list(found), more

    def _spans(self, ask: SpansAsk) -> SpansPage:
        found, more = self._page("spans", self.bundle.spans, ask)
        return SpansPage([StoredSpans(at, one.epoch, one.chunk) for at, one in found], more)

    def _usage(self, ask: UsageAsk) -> list[UsageRow]:
        run = self._one(ask.run or self.bundle.manifest.run)
        return self.bundle.usage(run)

    def _bundle(self, ask: BundleAsk) -> BundlePage:
        run = self._one(ask.run)
        file, task = self.bundle.run(run), self.bundle.task(run)
        marks = [m for m in self.bundle.marks(run) if m.key > ask.after]
        for mark in marks:
            if (ref := mark.ref) is not None:
                size, digest = self.bundle.size(run, ref.key), self.bundle.digest(run, ref.key)
                mark.ref = BlobRef(f"{run}/{ref.key}", size, digest)
        return BundlePage(run, file.root, file.limit_key, file.trace, task.spec, task.deployment,
                          marks)  # fmt: skip
