"""Agents and their claims: `register`, `beat`, `claim`, `load`.

A claim raises the epoch of each run and is answered after the commit with all that its attempts
need. A lost answer is asked for again with the same nonce. An engine whose store is down still
answers beats, with `store_down`: attempts freeze, none is killed (DECISIONS B1).
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway import faults
from headway.wire import NOTHING, decode, encode
from headway.wire.budget import Budget
from headway.wire.rpc import (
    BEAT,
    CLAIM,
    LOAD,
    REGISTER,
    Assignment,
    Beat,
    Beaten,
    Claim,
    Claimed,
    Loaded,
    Registered,
    RpcError,
    VersionInfo,
)
from headway_engine.blobs import BlobsDown, blob_key, store_blob
from headway_engine.counters import Counters
from headway_engine.flows import Flows
from headway_engine.happenings import VersionMissing
from headway_engine.saves import BUSY
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headway.wire import BlobRef
    from headway.wire.fleet import TaskSpec
    from headway_engine.blobs import Blobs
    from headway_engine.credits import Place
    from headway_engine.dispatch import Dispatcher
    from headway_engine.door import Asked, Door
    from headway_engine.happenings import Happening
    from headway_engine.relay import Relay
    from headway_engine.service import Health
    from headway_engine.store import Store
    from headway_engine.store.records import Claimed as Given

log = logging.getLogger("headway.engine")

ANSWER_LIMIT = 900 * 1024
"""Bytes of an answer, below the server's limit of 1 MB a message."""
SPILL_OVER = 4 * 1024
"""A body larger than this goes to blobs when the answer is too large."""


class Agents:
    """Serves the verbs by which agents get and keep their right to run."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        dispatcher: Dispatcher,
        relay: Relay,
        health: Health,
        *,
        engine: str,
        lease: float,
        beat_every: float,
        ensure_queue: Callable[[str, str], Awaitable[None]],
        image_grace: float = 30.0,
        counters: Counters | None = None,
        flows: Flows | None = None,
    ) -> None:
        """`ensure_queue(ns, queue)`: make the queue's consumer in WORK, once."""
        self._store, self._blobs = store, blobs
        self._dispatcher, self._relay, self._health = dispatcher, relay, health
        self._engine, self._lease, self._beat_every = engine, lease, beat_every
        self._ensure_queue = ensure_queue
        self._images: dict[Place, frozenset[str]] = {}
        self._imageless: dict[tuple[str, str, str], float] = {}
        """Since when nobody on a queue has an image: (ns, queue, image) to loop time."""
        self._loop = asyncio.get_running_loop()
        self.claimed = 0
        self._counters = counters if counters is not None else Counters()
        self._flows = flows if flows is not None else Flows()
        self._image_grace = image_grace

    def serve(self, door: Door) -> None:
        """Hang the verbs into the door."""
        door.serve_slow("register", self._register, RpcError("busy", "too many requests"))
        door.serve_slow("beat", self._beat, Beaten(ok=False, store_down=True))
        door.serve_slow("claim", self._claim, Claimed(self._engine, busy=BUSY))
        door.serve_slow("load", self._load, RpcError("busy", "too many requests"))

    def heard(self, ns: str, agent: str, free: int, shared_free: int) -> None:
        """What an envelope says of the agent's slots."""
        credits = self._dispatcher.credits
        self._dispatcher.freed(credits.heard(ns, agent, free, shared_free, self._loop.time()))

    async def _register(self, asked: Asked) -> None:
        ask = decode(REGISTER, asked.body)
        if not asked.is_from(ask.agent):
            return
        try:
            for queue in ask.queues:
                await self._ensure_queue(asked.ns, queue)
            session, kept, stop = await self._store.register(asked.ns, ask, self._lease)
        except StoreDown as e:
            self._health.bad(str(e))
            asked.refuse("busy", str(e))
            return
        self._health.good()
        self._images[asked.ns, ask.agent] = frozenset(ask.images)
        self._flows.moves += 1
        credits = self._dispatcher.credits
        credits.registered(
            asked.ns, ask.agent, ask.queues, ask.slots, ask.shared_slots, self._loop.time()
        )
        if ask.holds:
            # What it adopted fills its slots until its first beat says exactly how.
            credits.heard(asked.ns, ask.agent, 0, 0, self._loop.time())
        for queue in ask.queues:
            self._dispatcher.mark((asked.ns, queue))
        log.info(
            "agent registered: ns=%s agent=%s session=%d kept=%d stop=%d",
            asked.ns,
            ask.agent,
            session,
            len(kept),
            len(stop),
        )
        asked.answer(Registered(self._engine, session, self._lease, self._beat_every, kept, stop))

    async def _beat(self, asked: Asked) -> None:
        ask: Beat = decode(BEAT, asked.body)
        if not asked.is_from(ask.agent):
            return
        if self._health.down():
            # At once: beats must not queue up behind requests that wait for the store.
            asked.answer(Beaten(ok=False, store_down=True))
            return
        try:
            renewed = await self._store.beat(asked.ns, ask, self._lease)
        except StoreDown as e:
            self._health.bad(str(e))
            asked.answer(Beaten(ok=False, store_down=True))
            return
        self._health.good()
        if ask.images:
            self._images[asked.ns, ask.agent] = frozenset(ask.images)
        if not renewed.live:
            self._counters["session_over"] += 1
            self._dispatcher.credits.gone(asked.ns, ask.agent)
            asked.answer(Beaten(ok=False, session_over=True))
            return
        if ask.degraded or renewed.drain:
            # It beats, but takes nothing: its slots are not room.
            self.heard(asked.ns, ask.agent, 0, 0)
        else:
            self.heard(asked.ns, ask.agent, ask.free, ask.shared_free)
        asked.answer(
            Beaten(ok=True, want_holds=renewed.want_holds, stop=renewed.stop, drain=renewed.drain)
        )

    async def _claim(self, asked: Asked) -> None:
        ask: Claim = decode(CLAIM, asked.body)
        if not asked.is_from(ask.agent):
            return
        if self._health.down():
            asked.answer(Claimed(self._engine, busy=BUSY))
            return
        images = self._images.get((asked.ns, ask.agent))
        try:
            answer = await self._store.claim(
                asked.ns, ask.agent, ask.session, ask.nonce, ask.runs, images
            )
        except StoreDown as e:
            self._health.bad(str(e))
            asked.answer(Claimed(self._engine, busy=BUSY))
            return
        self._health.good()
        self._counters.moved(answer.outcomes)
        if faults.armed:
            await faults.point("engine.claims.committed")
        self._relay.told(answer.outcomes)
        self._dispatcher.told(answer.outcomes)
        if answer.session_over:
            self._counters["session_over"] += 1
            self._dispatcher.credits.gone(asked.ns, ask.agent)
            asked.answer(Claimed(self._engine, session_over=True))
            return
        if answer.overdue:
            asked.answer(Claimed(self._engine, busy=BUSY))
            return
        try:
            await fill_budgets(self._store, asked.ns, answer.claimed)
        except StoreDown as e:
            self._health.bad(str(e))
            asked.answer(Claimed(self._engine, busy=BUSY))  # the same nonce gets the same runs
            return
        if answer.imageless:
            await self._look_for_images(asked.ns, answer.imageless)
        for given in answer.claimed:
            run = given.run
            self._relay.events(run.ns, run.id, run.task, run.queue, given.events)
        self._dispatcher.taken(ask.runs)
        self.claimed += len(answer.claimed)
        self._flows.claimed(answer.claimed)
        self._counters["claim_refused"] += len(answer.refused)
        body = self._encode(answer.claimed, answer.refused)
        if len(body) > ANSWER_LIMIT:
            try:
                await self._spill(answer.claimed)
            except (BlobsDown, StoreDown):
                asked.answer(Claimed(self._engine, busy=BUSY))
                return
            body = self._encode(answer.claimed, answer.refused)
        asked.send(body)
        self.heard(asked.ns, ask.agent, ask.free, ask.shared_free)

    async def _look_for_images(self, ns: str, runs: list[tuple[str, str, str, str]]) -> None:
        """An image that no live agent of the queue has for a while: its runs go to REVIEW (G2)."""
        try:
            agents = [a for a in await self._store.agents(ns) if a.alive]
            nowhere: list[tuple[str, Happening]] = []
            for run, queue, version, image in runs:
                place = (ns, queue, image)
                if any(queue in a.queues and image in a.images for a in agents):
                    self._imageless.pop(place, None)
                    continue
                now = self._loop.time()
                if now - self._imageless.setdefault(place, now) >= self._image_grace:
                    nowhere.append((run, VersionMissing(version)))
            if nowhere:
                outcomes = await self._store.commit(nowhere)
                self._counters.moved(outcomes)
                self._relay.told(outcomes)
                self._dispatcher.told(outcomes)
        except StoreDown as e:
            self._health.bad(str(e))  # they come again

    def _encode(self, claimed: list[Given], refused: list[tuple[str, str]]) -> bytes:
        """The answer: each task's spec and each version once."""
        specs: set[tuple[str, str]] = set()
        versions: dict[str, VersionInfo] = {}
        assignments: list[Assignment] = []
        for given in claimed:
            run = given.run
            spec: TaskSpec | None = None
            if (run.version, run.task) not in specs:
                specs.add((run.version, run.task))
                versions.setdefault(run.version, given.version)
                # The schema is for the door of enqueue alone.
                spec = replace(given.spec, payload_schema=NOTHING)
            assignments.append(assignment_of(given, spec))
        return encode(Claimed(self._engine, assignments, refused, list(versions.values())))

    async def _spill(self, claimed: list[Given]) -> None:
        """Too much for one message: bodies become references, marks are paged with `load`."""
        for given in claimed:
            run = given.run
            if len(body := bytes(given.payload)) > SPILL_OVER:
                given.payload_ref = await self._lend(run.ns, run.id, body)
                given.payload = NOTHING
            if len(body := bytes(given.state)) > SPILL_OVER:
                given.state_ref = await self._lend(run.ns, run.id, body)
                given.state = NOTHING
            if len(encode(given.marks)) > SPILL_OVER:
                given.marks, given.marks_more = [], True

    async def _lend(self, ns: str, run: str, body: bytes) -> BlobRef:
        """A copy for this answer alone: no row names it, so its end is settled first."""
        await self._store.purge_later(ns, run, [blob_key(ns, run, sha256(body).hexdigest())])
        return await store_blob(self._blobs, ns, run, body)

    async def _load(self, asked: Asked) -> None:
        ask = decode(LOAD, asked.body)
        try:
            marks, more = await self._store.load_marks(asked.ns, ask.run, ask.epoch, ask.after)
        except StoreDown as e:
            asked.refuse("busy", str(e))
            return
        asked.answer(Loaded(marks, more))


async def fill_budgets(store: Store, ns: str, claimed: list[Given]) -> None:
    """What runs of tasks with a budget may use, and have used; raises StoreDown."""
    limited = {g.run.id: g.spec for g in claimed if g.spec.budget_usd or g.spec.budget_tokens}
    if not limited:
        return
    found = await budgets_of(store, ns, limited)
    for given in claimed:
        given.budget = found.get(given.run.id)


async def budgets_of(store: Store, ns: str, specs: Mapping[str, TaskSpec]) -> dict[str, Budget]:
    """By run: its task's budget, or what a person gave instead, and what was used of it."""
    raised, spent = await store.budgets(ns, list(specs)), await store.spent(ns, list(specs))
    budgets: dict[str, Budget] = {}
    for run, spec in specs.items():
        usd, tokens = raised.get(run, (0.0, 0))
        tokens_in, tokens_out, cost = spent.get(run, (0, 0, 0.0))
        budgets[run] = Budget(
            usd or spec.budget_usd, tokens or spec.budget_tokens, cost, tokens_in + tokens_out
        )
    return budgets


def assignment_of(given: Given, spec: TaskSpec | None) -> Assignment:
    """A claimed run as its agent gets it."""
    run = given.run
    return Assignment(
        run.id,
        run.epoch,
        run.task,
        run.version,
        run.failures + 1,
        spec,
        given.payload,
        given.payload_ref,
        given.checkpoint,
        given.checkpoint_name,
        given.schema,
        given.state,
        given.state_ref,
        given.marks,
        given.marks_more,
        root=run.root,
        parent=run.parent,
        deadline_at=run.deadline_at,
        timeout=given.spec.timeout,
        trace=run.trace,
        max_attempts=given.spec.max_attempts,
        queue=run.queue,
        tags=run.tags,
        created_ms=int(run.created_at.timestamp() * 1000),
        unconfirmed=bool(run.unconfirmed),
        budget=given.budget,
    )
