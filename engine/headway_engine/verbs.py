"""The verbs of the api, one method each; `control.py` is their server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from headway.budgets import over
from headway.errors import Refused
from headway.ids import is_run_id
from headway.states import RunState
from headway.wire import INLINE_LIMIT, NOTHING, PAYLOAD_LIMIT, BlobRef, clean_text, decode, decoder
from headway.wire.api import Done, Info
from headway.wire.blobs import BlobGet, BlobPart, BlobPut, BlobUrl, SignedPut
from headway.wire.budget import Budget
from headway.wire.events import gist
from headway.wire.fleet import AgentRow, Deployment, QueueAsk, TaskSpec
from headway.wire.replays import ForkAsk, Forked
from headway.wire.runs import (
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
from headway.wire.steering import (
    AckAsk,
    BulkAsk,
    BulkPage,
    CancelAsk,
    DeadAsk,
    DeadPage,
    DrainAsk,
    ReplayAsk,
    ResumeAsk,
)
from headway_engine.bulk import bulk
from headway_engine.claims import budgets_of
from headway_engine.control import ApiRefused, Asker
from headway_engine.happenings import Acknowledge, Cancel, Resume
from headway_engine.names import unknown_queue
from headway_engine.why import Facts, explain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.wire.events import Event
    from headway_engine.blobs import Blobs
    from headway_engine.blobs.uploads import Uploads
    from headway_engine.board import Board
    from headway_engine.commits import Commits
    from headway_engine.control import Handler
    from headway_engine.dispatch import Dispatcher
    from headway_engine.forks import Forks
    from headway_engine.presence import QueueTick
    from headway_engine.relay import Relay
    from headway_engine.store import Store
    from headway_engine.store.records import Outcome, Run

log = logging.getLogger("headway.engine")

PAGE_BYTES = 512 * 1024
"""About how many bytes a page of an answer holds."""
REPEATS = 200
"""So many events later a repeated request is still recognised."""
DETAIL_ROWS = 500
"""Events in the answer of `run`; older ones by `events`."""

_RUNS, _RUN = decoder(RunsQuery), decoder(RunAsk)
_RESULTS, _CANCEL, _RESUME = decoder(ResultsAsk), decoder(CancelAsk), decoder(ResumeAsk)
_REPLAY, _QUEUE, _DEPLOY = decoder(ReplayAsk), decoder(QueueAsk), decoder(Deployment)
_BULK, _DRAIN, _FORK = decoder(BulkAsk), decoder(DrainAsk), decoder(ForkAsk)
_BLOB_PUT, _BLOB_GET, _BLOB_URL = decoder(BlobPut), decoder(BlobGet), decoder(BlobUrl)


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


_STATE, _USAGE = decoder(StateAsk), decoder(UsageAsk)
_DEAD, _ACK = decoder(DeadAsk), decoder(AckAsk)
_FACETS = decoder(FacetsAsk)


class Verbs:
    """Answers from the store; commands become happenings."""

    def __init__(
        self,
        store: Store,
        commits: Commits,
        dispatcher: Dispatcher,
        ticks: QueueTick,
        relay: Relay,
        blobs: Blobs,
        uploads: Uploads,
        forks: Forks,
        info: Callable[[], Awaitable[Info]],
        board: Board,
    ) -> None:
        self._store, self._commits, self._dispatcher = store, commits, dispatcher
        self._ticks, self._relay = ticks, relay
        self._blobs, self._uploads, self._info = blobs, uploads, info
        self._forks, self._board = forks, board

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
            "cancel": self._cancel,
            "resume": self._resume,
            "ack": self._ack,
            "bulk": self._bulk,
            "replay": self._replay,
            "fork": self._fork,
            "queues": self._queues,
            "queue-set": self._queue_set,
            "agents": self._agents,
            "agent-drain": self._agent_drain,
            "deploy": self._deploy,
            "deployments": self._deployments,
            "tasks": self._tasks,
            "blob-put": self._blob_put,
            "blob-get": self._blob_get,
            "blob-url": self._blob_url,
            "blob-done": self._blob_done,
        }

    # --- reading

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

    async def _record(self, asker: Asker, run: str) -> Run:
        record = await self._store.get(asker.ns, run)
        if record is None:
            raise ApiRefused("not_found", f"no run {run} in namespace {asker.ns}")
        return record

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
        row = detail.row
        detail.budget = await self._budgets(asker.ns, run, row.task, row.version)
        detail.why = (await self._explain(asker, run)).why
        return detail

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
        return await self._explain(asker, await self._one(asker, decode(_RUN, body)))

    async def _explain(self, asker: Asker, run: str) -> Why:
        record = await self._record(asker, run)
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

    # --- commanding

    async def _cancel(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_CANCEL, body)
        _check_text(ask.reason, "reason")
        if await self._store.get(asker.ns, ask.run) is None:
            await self._store.early_cancel(asker.ns, ask.run, asker.actor, ask.reason)
            # Intake may have recorded it in between: then the cancel goes to the run itself.
            if await self._store.get(asker.ns, ask.run) is None:
                return Done(
                    ask.run, "ok", "unknown", "not recorded yet: it is cancelled as soon as it is"
                )
        outcome = await self._commits.move(ask.run, Cancel(asker.actor, ask.reason))
        return done_of(ask.run, outcome)

    async def _resume(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_RESUME, body)
        record = await self._record(asker, ask.run)
        happening = Resume(
            asker.actor,
            tuple(ask.once.items()),
            tuple((key, bytes(value)) for key, value in ask.values.items()),
            ask.override,
            ask.request,
            ask.budget_usd,
            ask.budget_tokens,
        )
        _check_text(ask.request, "request")
        if ask.budget_usd or ask.budget_tokens:
            await self._give_budget(asker, record, ask)
        outcome = await self._commits.move(ask.run, happening)
        if ask.request and outcome.outcome in ("refused", "stale") and await self._was_done(
            asker, ask
        ):  # fmt: skip
            outcome.outcome, outcome.message = "already", ""
        return done_of(ask.run, outcome)

    async def _was_done(self, asker: Asker, ask: ResumeAsk) -> bool:
        """True if this very request was carried out before: its answer was lost."""
        run = await self._record(asker, ask.run)
        events = await self._store.events(asker.ns, ask.run, max(0, run.n - REPEATS), REPEATS)
        return any(e.actor == asker.actor and e.data.get("request") == ask.request for e in events)

    async def _ack(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_ACK, body)
        await self._record(asker, ask.run)
        happening = Acknowledge(asker.actor, ask.undo)
        return done_of(ask.run, await self._commits.move(ask.run, happening))

    async def _give_budget(self, asker: Asker, run: Run, ask: ResumeAsk) -> None:
        """Write it down, before the run goes on: the next claim reads it.

        A crash in between leaves the run where it is, and asking again does the rest.
        """
        if run.state is not RunState.REVIEW or run.reason != "budget":
            return  # the lifecycle says why not
        now = (await self._budgets(asker.ns, run.id, run.task, run.version)) or Budget()
        wanted = Budget(ask.budget_usd or now.usd, ask.budget_tokens or now.tokens)
        if why := over(wanted, now.spent_usd, now.spent_tokens):
            raise ApiRefused("refused", f"the run has used {why} already: give it more")
        await self._store.set_budget(
            asker.ns, run.id, ask.budget_usd, ask.budget_tokens, asker.actor
        )

    async def _budgets(self, ns: str, run: str, task: str, version: str) -> Budget | None:
        """What the run may use, and has used; None = any."""
        found = await self._store.spec(ns, task, version)
        if found is None or not (found[1].budget_usd or found[1].budget_tokens):
            return None
        return (await budgets_of(self._store, ns, {run: found[1]}))[run]

    async def _bulk(self, asker: Asker, body: bytes) -> BulkPage:
        ask = decode(_BULK, body)
        _check_text(ask.reason, "reason")
        return await bulk(self._store, self._commits, asker.ns, asker.actor, ask)

    async def _replay(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_REPLAY, body)
        # A fork from the start, with nothing edited.
        fork = ForkAsk(
            ask.run, ask.new_run, "start", clear=ask.clear, version=ask.version, queue=ask.queue
        )
        done = await self._forks.fork(asker.ns, fork, asker.actor)
        return Done(done.run, done.outcome, done.status)

    async def _fork(self, asker: Asker, body: bytes) -> Forked:
        return await self._forks.fork(asker.ns, decode(_FORK, body), asker.actor)

    async def _check_queue(self, asker: Asker, queue: str) -> None:
        known = await self._store.named_queues(asker.ns)
        if queue not in known:
            raise ApiRefused("unknown_queue", unknown_queue(queue, asker.ns, known))

    async def _queue_set(self, asker: Asker, body: bytes) -> Any:
        ask = decode(_QUEUE, body)
        for what, value in (("limit", ask.limit), ("key_limit", ask.key_limit)):
            if value is not None and not 0 <= value <= 1_000_000:
                raise ApiRefused("bad_request", f"{what}: 0 (none) to 1000000")
        if ask.priority is not None and not -1000 <= ask.priority <= 1000:
            raise ApiRefused("bad_request", "priority: -1000 to 1000")
        _check_text(ask.reason, "reason")
        if ask.reason and ask.paused is not True:
            raise ApiRefused("bad_request", "reason: goes with paused")
        if not ask.create:
            await self._check_queue(asker, ask.queue)
        row = await self._store.set_queue(asker.ns, ask, asker.actor)
        self._dispatcher.mark((asker.ns, ask.queue))
        self._dispatcher.hint((asker.ns, ask.queue))
        self._ticks.wake()
        return row

    async def _agent_drain(self, asker: Asker, body: bytes) -> AgentRow:
        ask = decode(_DRAIN, body)
        if ask.undo and ask.now:
            raise ApiRefused("bad_request", "undo and now: one of them")
        _check_text(ask.reason, "reason")
        if ask.reason and ask.undo:
            raise ApiRefused("bad_request", "reason: not with undo")
        known = [row.agent for row in await self._store.agent_rows(asker.ns)]
        if ask.agent not in known:
            have = ", ".join(sorted(known)) or "none"
            raise ApiRefused("no_agent", f"no agent {ask.agent} in {asker.ns}; there is: {have}")
        how = "" if ask.undo else "now" if ask.now else "drain"
        await self._store.drain(asker.ns, ask.agent, how, asker.actor, ask.reason)
        log.info(
            "agent drains: ns=%s agent=%s how=%s by=%s",
            asker.ns, ask.agent, how or "undone", asker.actor,
        )  # fmt: skip
        self._ticks.wake()
        rows = await self._store.agent_rows(asker.ns)
        self._board.on_agents(asker.ns, rows)
        return next(row for row in rows if row.agent == ask.agent)

    async def _deploy(self, asker: Asker, body: bytes) -> dict[str, Any]:
        what = decode(_DEPLOY, body)
        for text in (what.version, what.image, what.image_tag, what.source, *what.modules):
            _check_text(text, "deployment")
        if not what.version:
            raise ApiRefused("bad_request", "version: give it a name")
        if not what.tasks:
            raise ApiRefused("bad_request", "tasks: a deployment without tasks does nothing")
        warnings = await self._store.deploy(asker.ns, what)
        return {
            "version": what.version,
            "tasks": [t.task for t in what.tasks],
            "warnings": warnings,
        }

    # --- blobs

    async def _blob_put(self, asker: Asker, body: bytes) -> BlobRef | dict[str, str]:
        part = decode(_BLOB_PUT, body)
        try:
            ref = await self._uploads.part(
                asker.ns,
                part.run,
                part.upload,
                part.index,
                part.data,
                last=part.last,
                digest=part.sha256,
                limit=PAYLOAD_LIMIT,
            )
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None
        return ref if ref is not None else {}

    async def _blob_url(self, asker: Asker, body: bytes) -> SignedPut:
        ask = decode(_BLOB_URL, body)
        try:
            return SignedPut(
                *await self._uploads.url(
                    asker.ns, ask.run, ask.size, ask.sha256, limit=PAYLOAD_LIMIT
                )
            )
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None

    async def _blob_done(self, asker: Asker, body: bytes) -> BlobRef:
        ask = decode(_BLOB_URL, body)
        try:
            return await self._uploads.done(asker.ns, ask.run, ask.size, ask.sha256)
        except Refused as e:
            raise ApiRefused(e.code, str(e)) from None

    async def _blob_get(self, asker: Asker, body: bytes) -> BlobPart:
        ask = decode(_BLOB_GET, body)
        if not ask.key.startswith(f"{asker.ns}/"):
            raise ApiRefused("not_found", "no such blob in this namespace")
        size = await self._blobs.size(ask.key)
        data = await self._blobs.get(ask.key, max(0, ask.offset), ask.length)
        return BlobPart(data, size or 0)


def _check_text(text: str, what: str) -> None:
    if not clean_text(text):
        raise ApiRefused("bad_request", f"{what}: NUL and lone surrogates cannot be stored")


def done_of(run: str, outcome: Outcome) -> Done:
    """The answer of a command."""
    status = outcome.run.state.status if outcome.run is not None else ""
    if outcome.run is None and outcome.outcome not in ("ok", "already"):
        raise ApiRefused("not_found", outcome.message or f"no run {run}")
    return Done(run, outcome.outcome, status, outcome.message)


def last_error(events: list[Event]) -> str:
    """Of the last failed attempt among these events."""
    for event in reversed(events):
        error = event.data.get("error")
        if isinstance(error, dict):
            return f"{error.get('type', '')}: {error.get('message', '')}"[:200]  # pyright: ignore[reportUnknownMemberType]  # open data
    return ""
