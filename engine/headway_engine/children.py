"""Runs that running tasks enqueue: `enqueue`, `ends` and `child_get` of the agents.

A child's id is derived from its parent and the key (DECISIONS F7), never taken from the runner. It
is recorded in two commits, either of which may be repeated: first a mark on the parent, conditional
on its epoch, so that a stale attempt can start nothing; then the child, as intake records any run.
A crash between them loses nothing: the attempt, or the next one that comes to that line, asks again
until both are answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway import subjects
from headway.children import ChildRecord
from headway.ids import child_root, child_run_id
from headway.states import OPEN, RunState
from headway.wire import KEY_LIMIT, Malformed, clean_text, decode, encode
from headway.wire.children import (
    CHILDREN,
    CHILDREN_ASK,
    ChildAsk,
    ChildEnd,
    ChildOutcome,
    ChildrenEnds,
    Enqueued,
)
from headway.wire.enqueue import ITEM
from headway.wire.rpc import GET_PART, GetAnswer
from headway.wire.saves import SaveMark
from headway_engine.blobs import BlobsDown, NoBlob
from headway_engine.checks import Unfit
from headway_engine.recorder import Specs
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.wire.children import Child
    from headway.wire.enqueue import Ended
    from headway.wire.runs import ResultsAnswer
    from headway_engine.blobs import Blobs
    from headway_engine.door import Asked, Door
    from headway_engine.recorder import Recorder
    from headway_engine.saves import SaveLanes
    from headway_engine.store import Store
    from headway_engine.store.records import NewRun, Run

BUSY = 0.2
"""Seconds after which an agent asks again; it adds jitter."""
ENDS_BYTES = 512 * 1024
"""Results in one answer of `ends`, about: a message takes 1 MB."""
ASK_LIMIT = 1000


class _Made:
    """One request on its way: the record of the child, unless it is there already."""

    __slots__ = ("ask", "id", "new", "outcome", "payload")

    def __init__(self, ask: Child, id: str, payload: str, new: NewRun | None) -> None:
        self.ask, self.id, self.payload, self.new = ask, id, payload, new
        self.outcome = ChildOutcome("ok", id)


class Children:
    """Serves what attempts ask about their children."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        saves: SaveLanes,
        recorder: Recorder,
        now: Callable[[], datetime],
    ) -> None:
        """`now`: the store's clock, about."""
        self._store, self._blobs, self._saves = store, blobs, saves
        self._recorder, self._now = recorder, now

    def serve(self, door: Door) -> None:
        """Hang the verbs into the door."""
        door.serve_slow("enqueue", self._enqueue, Enqueued(busy=BUSY))
        door.serve_slow("ends", self._ends, ChildrenEnds(busy=BUSY))
        door.serve_slow("child_get", self._get, GetAnswer("busy", busy=BUSY))

    async def _parent(
        self, asked: Asked, run: str, epoch: int, parents: dict[str, Run]
    ) -> Run | None:
        """The record of an attempt that this agent holds; None = it is over, or another's."""
        record = parents.get(run) or await self._store.get(asked.ns, run)
        if record is None or record.state not in OPEN:
            return None
        if (record.agent, record.epoch) != (asked.agent, epoch):
            return None
        parents[run] = record
        return record

    # --- enqueue

    async def _enqueue(self, asked: Asked) -> None:
        body = decode(CHILDREN, asked.body)
        if not asked.is_from(body.agent):
            return
        try:
            asked.answer(Enqueued(await self._all(asked, body.children)))
        except (StoreDown, BlobsDown):
            # What is recorded by now is found again under the same ids.
            asked.answer(Enqueued(busy=BUSY))

    async def _all(self, asked: Asked, asks: list[Child]) -> list[ChildOutcome]:
        parents: dict[str, Run] = {}
        owners = [await self._parent(asked, a.run, a.epoch, parents) for a in asks]
        ids = [
            "" if parent is None else child_run_id(parent.root, parent.id, ask.key)
            for ask, parent in zip(asks, owners, strict=True)
        ]
        known = await self._store.ends(asked.ns, [i for i in ids if i])
        specs = Specs()
        out: list[ChildOutcome | _Made] = []
        made: list[_Made] = []
        for ask, parent, child in zip(asks, owners, ids, strict=True):
            if parent is None:
                out.append(ChildOutcome("stale_epoch", message="the attempt is over"))
                continue
            try:
                one = await self._made(asked, ask, parent, child, known, specs)
            except Unfit as e:
                out.append(ChildOutcome("rejected", code=e.code, message=str(e)[:2000]))
                continue
            out.append(one)
            made.append(one)
        marked = await self._mark(asked.ns, [m for m in made if m.outcome.outcome == "ok"])
        await self._record(asked.ns, marked)
        return [o.outcome if isinstance(o, _Made) else o for o in out]

    async def _made(
        self,
        asked: Asked,
        ask: Child,
        parent: Run,
        child: str,
        known: ResultsAnswer,
        specs: Specs,
    ) -> _Made:
        """Check one; raises Unfit. Nothing is written yet (but a large payload's blob)."""
        if not 0 < len(ask.key) <= KEY_LIMIT or not clean_text(ask.key):
            raise Unfit("bad_request", f"key: 1 to {KEY_LIMIT} characters, no NUL")
        try:
            item = decode(ITEM, memoryview(ask.item))
        except Malformed as e:
            raise Unfit("malformed", str(e)) from None
        if item.run != child:
            raise Unfit("bad_id", f"the child under key {ask.key!r} has the id {child}")
        if (winner := _there(known, child)) is not None:
            # Its first call counts, whatever this one says: an answer that was recorded.
            made = _Made(ask, child, "", None)
            made.outcome.run = winner
            return made
        if parent.state is RunState.CANCELLING:
            made = _Made(ask, child, "", None)
            made.outcome = ChildOutcome("cancelling", message="the run is being cancelled")
            return made
        item.parent, item.root = parent.id, child_root(parent.root, ask.key)
        item.trace = item.trace or parent.trace
        item.payload, item.payload_ref = ask.payload, None
        if ask.ref is not None:
            if not ask.ref.key.startswith(f"{asked.ns}/{parent.id}/"):
                raise Unfit("bad_request", "ref: not a blob of this run")
            try:
                item.payload = msgspec.Raw(await self._blobs.get(ask.ref.key))
            except NoBlob as e:
                raise Unfit("bad_request", f"ref: {e}") from None
        reply = subjects.agent_reply(asked.ns, asked.agent, "children")
        new = await self._recorder.prepare(asked.ns, item, None, self._now(), reply, specs)
        return _Made(ask, child, new.payload_hash, new)

    async def _mark(self, ns: str, made: list[_Made]) -> list[_Made]:
        """The fence: those whose mark the store took."""
        marks = [
            SaveMark(
                m.ask.run,
                m.ask.epoch,
                m.ask.key,
                "enqueue",
                _task_of(m),
                "done",
                value=msgspec.Raw(encode(ChildRecord(m.id, m.payload))),
                after=m.ask.after,
            )
            for m in made
        ]
        taken: list[_Made] = []
        done = await self._saves.call([(ns, mark) for mark in marks])
        for m, outcome in zip(made, done, strict=True):
            if outcome.outcome == "ok":
                taken.append(m)
            else:
                m.outcome = ChildOutcome(outcome.outcome, message=outcome.message)
        return taken

    async def _record(self, ns: str, marked: list[_Made]) -> None:
        fresh = [m for m in marked if m.new is not None]
        if not fresh:
            return
        outcomes = await self._recorder.commit(ns, [m.new for m in fresh if m.new is not None])
        for m, done in zip(fresh, outcomes, strict=True):
            if done.outcome == "rejected":
                m.outcome = ChildOutcome("rejected", code=done.code, message=done.reason)
            else:
                m.outcome.run = done.winner or m.id
                m.outcome.fresh = done.outcome == "recorded"

    # --- ends

    async def _ends(self, asked: Asked) -> None:
        body = decode(CHILDREN_ASK, asked.body)
        if not asked.is_from(body.agent):
            return
        try:
            asked.answer(await self._look(asked, body.children[:ASK_LIMIT]))
        except StoreDown:
            asked.answer(ChildrenEnds(busy=BUSY))

    async def _look(self, asked: Asked, asks: list[ChildAsk]) -> ChildrenEnds:
        parents: dict[str, Run] = {}
        ids: list[str] = []
        for ask in asks:
            parent = await self._parent(asked, ask.run, ask.epoch, parents)
            ids.append("" if parent is None else child_run_id(parent.root, parent.id, ask.key))
        known = await self._store.ends(asked.ns, sorted({i for i in ids if i}))
        ended = {e.run: e for e in known.ended}
        answer = ChildrenEnds()
        size = 0
        for child in ids:
            winner = (_there(known, child) or "") if child else ""
            told = _told(child, winner, ended.get(winner), known)
            if told.ended is not None:
                size += _size(told.ended)
                if size > ENDS_BYTES and any(c.ended for c in answer.children):
                    answer.more, told.ended = True, None
            answer.children.append(told)
        return answer

    # --- large results

    async def _get(self, asked: Asked) -> None:
        part = decode(GET_PART, asked.body)
        try:
            parent = await self._parent(asked, part.run, part.epoch, {})
            if parent is None:
                asked.answer(GetAnswer("stale_epoch", message="the attempt is over"))
                return
            child = child_run_id(parent.root, parent.id, part.child)
            owner = _there(await self._store.ends(asked.ns, [child]), child)
            if owner is None or not part.key.startswith(f"{asked.ns}/{owner}/"):
                asked.answer(GetAnswer("refused", message="not a blob of this child"))
                return
            length = min(max(1, part.length), 512 * 1024)
            data = await self._blobs.get(part.key, max(0, part.offset), length)
        except NoBlob as e:
            asked.answer(GetAnswer("not_found", message=str(e)))
        except (BlobsDown, StoreDown) as e:
            asked.answer(GetAnswer("busy", message=str(e), busy=BUSY))
        else:
            asked.answer(GetAnswer(data=data))


def _task_of(made: _Made) -> str:
    if made.new is not None:
        return made.new.run.task
    return decode(ITEM, memoryview(made.ask.item)).task


def _there(known: ResultsAnswer, child: str) -> str | None:
    """The run that is there for a child: itself, or the holder of its key; None = none is."""
    if (winner := known.aliases.get(child)) is not None:
        return winner
    if any(e.run == child for e in known.ended):
        return child
    return None if known.others.get(child, "unknown") in ("unknown", "rejected") else child


def _size(end: Ended) -> int:
    error = end.error
    return (
        200
        + len(bytes(end.result))
        + (0 if error is None else 4 * (len(error.message) + len(error.traceback)))
    )


def _told(child: str, winner: str, end: Ended | None, known: ResultsAnswer) -> ChildEnd:
    if not child:
        return ChildEnd()
    if not winner:
        return ChildEnd(child, "unknown")
    if end is not None:
        return ChildEnd(winner, end.status, end)
    return ChildEnd(winner, known.others.get(winner, ""))
