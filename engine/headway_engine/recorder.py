"""From a request for a run to its row: the one way, for what clients and what tasks enqueue.

`prepare` checks one item and makes its record (nothing is written but a large payload's blob, whose
key is its hash); `commit` writes a batch and tells of it: events to the relay, runs to the
dispatcher, due times to the timer. Both may be repeated: the run's id says that it is the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from headway.codec import payload_hash
from headway.wire import DEFAULT_QUEUE, INLINE_LIMIT
from headway_engine.blobs import NoBlob, store_blob
from headway_engine.checks import Unfit, check_item, check_payload, needs_check, no_task
from headway_engine.metrics.timing import Timing
from headway_engine.names import unknown_queue
from headway_engine.newruns import new_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway.wire.enqueue import EnqueueItem
    from headway.wire.fleet import TaskSpec
    from headway_engine.blobs import Blobs
    from headway_engine.dispatch import Counts, Dispatcher
    from headway_engine.relay import Relay
    from headway_engine.store import Store
    from headway_engine.store.records import EnqueueOutcome, NewRun

THREAD_BYTES = 16 * 1024
"""A payload larger than this is checked in a thread."""

Spec = tuple[str, "TaskSpec"]


class Specs(dict[tuple[str, str], Spec | None]):
    """What was looked up for one batch: (task, version) to what is registered, and the queues."""

    queues: frozenset[str] | None = None
    """The namespace's, if they were asked for."""


class Recorder:
    """Checks and records new runs."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        dispatcher: Dispatcher,
        relay: Relay,
        scheduled: Callable[[datetime | None], None],
    ) -> None:
        """`scheduled(due_at)`: a delayed run was recorded."""
        self._store, self._blobs = store, blobs
        self._dispatcher, self._relay, self._scheduled = dispatcher, relay, scheduled
        self._queues: set[tuple[str, str]] = set()
        self.timing = Timing()
        """Batches that the store recorded."""

    async def prepare(
        self,
        ns: str,
        item: EnqueueItem,
        arrived: datetime | None,
        base: datetime,
        reply: str,
        specs: Specs,
    ) -> NewRun:
        """The record of one enqueue; raises Unfit, StoreDown or BlobsDown.

        `arrived`: as `check_item`; `base`: the time that its windows count from; `reply`: where its
        end is pushed.
        """
        check_item(item, ns, arrived)
        which = (item.task, item.version or "")
        if which not in specs:
            specs[which] = await self._store.spec(ns, *which)
        found = specs[which]
        if found is None:
            raise no_task(item.task, ns, item.version)
        spec = found[1]
        if item.queue and item.queue not in (spec.queue, DEFAULT_QUEUE):
            await self._check_queue(ns, item.queue, specs)
        body, ref = bytes(item.payload) or b"{}", item.payload_ref
        if needs_check(item, spec):
            await self._check_payload(body, item, spec)
        if ref is None and len(body) > INLINE_LIMIT:
            ref = await store_blob(self._blobs, ns, item.run, body)
        if ref is not None:
            digest, body = ref.sha256, b""
        else:
            digest = payload_hash(body)
        try:
            return new_run(ns, item, spec, base, body, ref, digest, reply)
        except OverflowError:
            raise Unfit("bad_request", "a time is out of range") from None

    async def _check_queue(self, ns: str, queue: str, specs: Specs) -> None:
        """A misspelt name would make a queue that nobody ever serves; raises Unfit."""
        if (ns, queue) in self._queues:
            return
        if specs.queues is None:
            specs.queues = await self._store.named_queues(ns)
            # They are never many, and none is ever forgotten by the store.
            self._queues |= {(ns, known) for known in specs.queues}
        if queue not in specs.queues:
            raise Unfit("unknown_queue", unknown_queue(queue, ns, specs.queues))

    async def _check_payload(self, body: bytes, item: EnqueueItem, spec: TaskSpec) -> None:
        schema = bytes(spec.payload_schema)
        if not schema:
            return
        if item.payload_ref is not None:
            try:
                body = await self._blobs.get(item.payload_ref.key)
            except NoBlob as e:
                raise Unfit("bad_request", f"payload_ref: {e}") from None
        if len(body) > THREAD_BYTES:
            await asyncio.to_thread(check_payload, body, schema)
        else:
            check_payload(body, schema)

    async def commit(self, ns: str, fresh: Sequence[NewRun]) -> list[EnqueueOutcome]:
        """Write them in one go; one outcome per run, in order. Raises StoreDown."""
        counts: Counts = {}
        for new in fresh:
            if new.run.due_at is None:
                run, shared = counts.get(new.run.queue, (0, 0))
                counts[new.run.queue] = (run, shared + 1) if new.run.shared else (run + 1, shared)
        reserved = self._dispatcher.reserve(ns, counts)
        done: Any = []
        begun = time.perf_counter()
        try:
            outcomes, done = await self._store.enqueue(ns, fresh, reserved)
            self.timing.add(time.perf_counter() - begun)
        finally:
            self._dispatcher.settle(ns, counts, reserved, done)
        for out in outcomes:
            record = out.record
            if record is not None and out.events:
                self._relay.events(ns, out.run, record.task, record.queue, out.events)
                if record.due_at is not None:
                    self._scheduled(record.due_at)
        return outcomes
