"""What is commanded on the api; `readverbs` has what is asked, `control` is their server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from headway.budgets import over
from headway.states import RunState
from headway.tags import Retag
from headway.wire import clean_text, decode, decoder
from headway.wire.api import Done
from headway.wire.budget import Budget
from headway.wire.fleet import AgentRow, Deployment, QueueAsk
from headway.wire.replays import ForkAsk, Forked
from headway.wire.steering import (
    AckAsk,
    BulkAsk,
    BulkPage,
    CancelAsk,
    DrainAsk,
    ReplayAsk,
    ResumeAsk,
    TagAsk,
)
from headway_engine.bulk import counted
from headway_engine.control import ApiRefused, Asker
from headway_engine.happenings import Acknowledge, Cancel, Resume, Tag
from headway_engine.names import unknown_queue
from headway_engine.readverbs import budget_of, record_of

if TYPE_CHECKING:
    from headway_engine.board import Board
    from headway_engine.commits import Commits
    from headway_engine.control import Handler
    from headway_engine.dispatch import Dispatcher
    from headway_engine.forks import Forks
    from headway_engine.presence import QueueTick
    from headway_engine.store import Store
    from headway_engine.store.records import Outcome, Run

log = logging.getLogger("headway.engine")

REPEATS = 200
"""So many events later a repeated request is still recognised."""

_CANCEL, _RESUME, _ACK = decoder(CancelAsk), decoder(ResumeAsk), decoder(AckAsk)
_REPLAY, _QUEUE, _DEPLOY = decoder(ReplayAsk), decoder(QueueAsk), decoder(Deployment)
_BULK, _DRAIN, _FORK, _TAG = (
    decoder(BulkAsk), decoder(DrainAsk), decoder(ForkAsk), decoder(TagAsk),
)  # fmt: skip


class Verbs:
    """Commands become happenings."""

    def __init__(
        self,
        store: Store,
        commits: Commits,
        dispatcher: Dispatcher,
        ticks: QueueTick,
        forks: Forks,
        board: Board,
    ) -> None:
        self._store, self._commits, self._dispatcher = store, commits, dispatcher
        self._ticks, self._forks, self._board = ticks, forks, board

    def table(self) -> dict[str, Handler]:
        """Verb to handler."""
        return {
            "cancel": self._cancel,
            "resume": self._resume,
            "ack": self._ack,
            "tag": self._tag,
            "bulk": self._bulk,
            "replay": self._replay,
            "fork": self._fork,
            "queue-set": self._queue_set,
            "agent-drain": self._agent_drain,
            "deploy": self._deploy,
        }

    async def _cancel(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_CANCEL, body)
        check_text(ask.reason, "reason")
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
        record = await record_of(self._store, asker.ns, ask.run)
        happening = Resume(
            asker.actor,
            tuple(ask.once.items()),
            tuple((key, bytes(value)) for key, value in ask.values.items()),
            ask.override,
            ask.request,
            ask.budget_usd,
            ask.budget_tokens,
        )
        check_text(ask.request, "request")
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
        run = await record_of(self._store, asker.ns, ask.run)
        events = await self._store.events(asker.ns, ask.run, max(0, run.n - REPEATS), REPEATS)
        return any(e.actor == asker.actor and e.data.get("request") == ask.request for e in events)

    async def _ack(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_ACK, body)
        await record_of(self._store, asker.ns, ask.run)
        happening = Acknowledge(asker.actor, ask.undo)
        return done_of(ask.run, await self._commits.move(ask.run, happening))

    async def _tag(self, asker: Asker, body: bytes) -> Done:
        ask = decode(_TAG, body)
        if flaw := Retag(ask.add, ask.remove).flaw:
            raise ApiRefused("bad_request", f"tags: {flaw}")
        await record_of(self._store, asker.ns, ask.run)
        happening = Tag(asker.actor, ask.add, ask.remove)
        return done_of(ask.run, await self._commits.move(ask.run, happening))

    async def _give_budget(self, asker: Asker, run: Run, ask: ResumeAsk) -> None:
        """Write it down, before the run goes on: the next claim reads it.

        A crash in between leaves the run where it is, and asking again does the rest.
        """
        if run.state is not RunState.REVIEW or run.reason != "budget":
            return  # the lifecycle says why not
        now = (await budget_of(self._store, asker.ns, run.id, run.task, run.version)) or Budget()
        wanted = Budget(ask.budget_usd or now.usd, ask.budget_tokens or now.tokens)
        if why := over(wanted, now.spent_usd, now.spent_tokens):
            raise ApiRefused("refused", f"the run has used {why} already: give it more")
        await self._store.set_budget(
            asker.ns, run.id, ask.budget_usd, ask.budget_tokens, asker.actor
        )

    async def _bulk(self, asker: Asker, body: bytes) -> BulkPage:
        return await counted(self._store, asker.ns, decode(_BULK, body))

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
        check_text(ask.reason, "reason")
        if ask.reason and ask.paused is not True:
            raise ApiRefused("bad_request", "reason: goes with paused")
        if not ask.create:
            await self._check_queue(asker, ask.queue)
        row = await self._store.set_queue(asker.ns, ask, asker.actor)
        self._dispatcher.changed((asker.ns, ask.queue))
        self._ticks.wake()
        return row

    async def _agent_drain(self, asker: Asker, body: bytes) -> AgentRow:
        ask = decode(_DRAIN, body)
        if ask.undo and ask.now:
            raise ApiRefused("bad_request", "undo and now: one of them")
        check_text(ask.reason, "reason")
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
            check_text(text, "deployment")
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


def check_text(text: str, what: str) -> None:
    """Raise ApiRefused for a text that no store keeps."""
    if not clean_text(text):
        raise ApiRefused("bad_request", f"{what}: NUL and lone surrogates cannot be stored")


def done_of(run: str, outcome: Outcome) -> Done:
    """The answer of a command."""
    status = outcome.run.state.status if outcome.run is not None else ""
    if outcome.run is None and outcome.outcome not in ("ok", "already"):
        raise ApiRefused("not_found", outcome.message or f"no run {run}")
    return Done(run, outcome.outcome, status, outcome.message)
