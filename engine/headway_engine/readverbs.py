"""What is asked of the api: lists, one run and why it is where it is, queues, agents, tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from headway.ids import is_run_id, trace_of
from headway.states import RunState
from headway.wire import INLINE_LIMIT, NOTHING, decode, decoder
from headway.wire.events import gist
from headway.wire.fleet import TaskSpec
from headway.wire.runs import (
    ALIKE_HOURS,
    CheckpointRow,
    Facets,
    FacetsAsk,
    ResultsAnswer,
    ResultsAsk,
    RunAsk,
    RunDetail,
    RunRow,
    RunsPage,
    RunsQuery,
    StateAnswer,
    StateAsk,
    UsageAsk,
    UsageRow,
)
from headway.wire.steering import DeadAsk, DeadPage
from headway_engine.claims import budgets_of
from headway_engine.control import ApiRefused, Asker
from headway_engine.why import Facts, explain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.wire.api import Info
    from headway.wire.budget import Budget
    from headway.wire.events import Event
    from headway_engine.board import Board
    from headway_engine.control import Handler
    from headway_engine.presence import QueueTick
    from headway_engine.store import Store
    from headway_engine.store.records import Run

PAGE_BYTES = 512 * 1024
"""About how many bytes a page of an answer holds."""
DETAIL_ROWS = 500
"""Events in the answer of `run`; older ones by `events`."""

_RUNS, _RUN, _RESULTS = decoder(RunsQuery), decoder(RunAsk), decoder(ResultsAsk)
_STATE, _USAGE = decoder(StateAsk), decoder(UsageAsk)
_DEAD, _FACETS = decoder(DeadAsk), decoder(FacetsAsk)


class Why(Struct):
    """The answer of `why`."""

    run: str
    status: str
    why: str


class TaskRow(Struct, omit_defaults=True):
    """One task with its current version."""

    task: str
    version: str
    spec: TaskSpec


class ReadVerbs:
    """Answers from the store."""

    def __init__(
        self,
        store: Store,
        ticks: QueueTick,
        info: Callable[[], Awaitable[Info]],
        board: Board,
    ) -> None:
        self._store, self._ticks, self._info, self._board = store, ticks, info, board

    def table(self) -> dict[str, Handler]:
        """Verb to handler."""
        return {
            "info": self._who,
            "runs": self._runs,
            "facets": self._facets,
            "run": self._run,
            "events": self._events,
            "checkpoints": self._checkpoints,
            "state": self._state,
            "why": self._why,
            "usage": self._usage,
            "dead": self._dead,
            "result": self._result,
            "queues": self._queues,
            "agents": self._agents,
            "deployments": self._deployments,
            "tasks": self._tasks,
        }

    async def _who(self, asker: Asker, body: bytes) -> Info:
        return await self._info()

    async def _runs(self, asker: Asker, body: bytes) -> RunsPage:
        page = await self._store.runs(asker.ns, decode(_RUNS, body))
        await self._spent(asker, page.runs)
        await self._asked(asker, page.runs)
        # Rows are small, but errors and tags may be long: a page always fits a message.
        size = 0
        for i, row in enumerate(page.runs):
            error = row.error
            size += 600 + sum(map(len, row.tags)) * 4
            size += len(error.message) * 4 + len(error.traceback) * 4 if error else 0
            size += 4000 if row.review else 0
            if size > PAGE_BYTES and i:
                page.runs, page.more, page.next = page.runs[:i], True, page.runs[i - 1].run
                break
        return page

    async def _facets(self, asker: Asker, body: bytes) -> Facets:
        return await self._store.facets(asker.ns, decode(_FACETS, body or b"{}"))

    async def _spent(self, asker: Asker, rows: list[RunRow]) -> None:
        """Write into the rows what their runs have used."""
        if not rows:
            return
        spent = await self._store.spent(asker.ns, [row.run for row in rows])
        for row in rows:
            if (used := spent.get(row.run)) is not None:
                row.tokens_in, row.tokens_out, row.cost_usd = used

    async def _asked(self, asker: Asker, rows: list[RunRow]) -> None:
        """Write into the rows of reviews what they wait for."""
        waits = [row.run for row in rows if row.status == RunState.REVIEW.status]
        found = await self._store.reviews(asker.ns, waits) if waits else {}
        for row in rows:
            row.review = found.get(row.run)

    async def _dead(self, asker: Asker, body: bytes) -> DeadPage:
        return await self._store.dead(asker.ns, decode(_DEAD, body))

    async def _usage(self, asker: Asker, body: bytes) -> list[UsageRow]:
        return await self._store.usage(asker.ns, decode(_USAGE, body or b"{}"))

    async def _one(self, asker: Asker, ask: RunAsk) -> str:
        """The run's id, from the id or a prefix that only one run has."""
        if is_run_id(ask.run):
            return ask.run
        prefix = ask.run.upper()
        if not 6 <= len(prefix) < 26 or not prefix.isalnum() or not prefix.isascii():
            raise ApiRefused("bad_request", "run: an id, or its first 6 characters or more")
        found = await self._store.find(asker.ns, prefix)
        if not found:
            raise ApiRefused("not_found", f"no run begins with {prefix}")
        if len(found) > 1:
            raise ApiRefused("ambiguous", f"several runs begin with {prefix}: {', '.join(found)}")
        return found[0]

    async def _run(self, asker: Asker, body: bytes) -> RunDetail:
        run = await self._one(asker, decode(_RUN, body))
        detail = await self._store.detail(asker.ns, run)
        if detail is None:
            raise ApiRefused("not_found", f"no run {run} in namespace {asker.ns}")
        await self._spent(asker, [detail.row])
        await self._asked(asker, [detail.row])
        detail.events = gist(detail.events, DETAIL_ROWS)
        detail.checkpoints = detail.checkpoints[-DETAIL_ROWS:]
        detail.marks = detail.marks[-DETAIL_ROWS:]
        # A result over the inline limit is a blob already: both bodies together fit a message.
        if len(bytes(detail.payload)) > INLINE_LIMIT:
            detail.payload = NOTHING
        await self._about(asker, detail)
        return detail

    async def _about(self, asker: Asker, detail: RunDetail) -> None:
        """What is not in its own rows: its task's terms, its kin, why it is where it is."""
        row, store = detail.row, self._store
        record = await record_of(store, asker.ns, row.run)
        found = await store.spec(asker.ns, row.task, row.version)
        if found is not None:
            spec = found[1]
            detail.retry, detail.env = record.policy, spec.variables()
            if spec.budget_usd or spec.budget_tokens:
                detail.budget = (await budgets_of(store, asker.ns, {row.run: spec}))[row.run]
        detail.trace = trace_of(record.trace, record.root or row.run)
        since = await store.now() - timedelta(hours=ALIKE_HOURS)
        detail.kin = await store.kin(asker.ns, row.run, row.failure, since)
        detail.why = (await self._explain(asker, record)).why

    async def _events(self, asker: Asker, body: bytes) -> list[Event]:
        ask = decode(_RUN, body)
        run = await self._one(asker, ask)
        return await self._store.events(asker.ns, run, ask.after, max(1, min(ask.n, 1000)))

    async def _checkpoints(self, asker: Asker, body: bytes) -> list[CheckpointRow]:
        run = await self._one(asker, decode(_RUN, body))
        detail = await self._store.detail(asker.ns, run)
        if detail is None:
            raise ApiRefused("not_found", f"no run {run} in namespace {asker.ns}")
        return detail.checkpoints

    async def _state(self, asker: Asker, body: bytes) -> StateAnswer:
        ask = decode(_STATE, body)
        run = await self._one(asker, RunAsk(ask.run))
        found = await self._store.state(asker.ns, run, ask.number)
        if found is None:
            which = f"checkpoint {ask.number}" if ask.number else "checkpoint"
            raise ApiRefused("not_found", f"run {run} has no {which}")
        row, state, ref = found
        if ref is not None:
            return StateAnswer(row, key=ref.key)
        return StateAnswer(row, Raw(state))

    async def _why(self, asker: Asker, body: bytes) -> Why:
        run = await self._one(asker, decode(_RUN, body))
        return await self._explain(asker, await record_of(self._store, asker.ns, run))

    async def _explain(self, asker: Asker, record: Run) -> Why:
        run = record.id
        events = await self._store.events(asker.ns, run, max(0, record.n - 20), 20)
        facts = Facts(
            await self._store.now(),
            self._ticks.states.get((asker.ns, record.queue)),
            await self._store.agents(asker.ns),
            last_error(events),
            tuple(m.key for m in record.marks),
            await self._store.named_queues(asker.ns),
        )
        return Why(run, record.state.status, explain(record, facts))

    async def _result(self, asker: Asker, body: bytes) -> ResultsAnswer:
        ask = decode(_RESULTS, body)
        answer = await self._store.ends(asker.ns, ask.runs)
        # What does not fit a message is said to have ended: the client asks again for those.
        size = 0
        for i, end in enumerate(answer.ended):
            size += len(bytes(end.result)) + (50_000 if end.error else 300)
            if size > PAGE_BYTES and i:
                answer.others |= {e.run: e.status for e in answer.ended[i:]}
                del answer.ended[i:]
                break
        return answer

    async def _queues(self, asker: Asker, body: bytes) -> list[Any]:
        rows = await self._store.queue_rows(asker.ns)
        self._board.on_queues(asker.ns, rows)
        for row in rows:
            row.depth = tuple(self._ticks.depths.get((asker.ns, row.queue), ()))
        return list(rows)

    async def _agents(self, asker: Asker, body: bytes) -> list[Any]:
        rows = await self._store.agent_rows(asker.ns)
        self._board.on_agents(asker.ns, rows)
        return list(rows)

    async def _deployments(self, asker: Asker, body: bytes) -> list[Any]:
        return list(await self._store.deployments(asker.ns))

    async def _tasks(self, asker: Asker, body: bytes) -> list[TaskRow]:
        rows: list[TaskRow] = []
        names = {t for d in await self._store.deployments(asker.ns) for t in d.tasks}
        for task in sorted(names):
            found = await self._store.spec(asker.ns, task)
            if found is not None:
                rows.append(TaskRow(task, *found))
        return rows


async def record_of(store: Store, ns: str, run: str) -> Run:
    """The run's record; raises ApiRefused if there is none."""
    record = await store.get(ns, run)
    if record is None:
        raise ApiRefused("not_found", f"no run {run} in namespace {ns}")
    return record


async def budget_of(store: Store, ns: str, run: str, task: str, version: str) -> Budget | None:
    """What the run may use, and has used; None = any."""
    found = await store.spec(ns, task, version)
    if found is None or not (found[1].budget_usd or found[1].budget_tokens):
        return None
    return (await budgets_of(store, ns, {run: found[1]}))[run]


def last_error(events: list[Event]) -> str:
    """Of the last failed attempt among these events."""
    for event in reversed(events):
        error = event.data.get("error")
        if isinstance(error, dict):
            return f"{error.get('type', '')}: {error.get('message', '')}"[:200]  # pyright: ignore[reportUnknownMemberType]  # open data
    return ""
