"""From an enqueue that passed its checks to the record of a new run: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headway.states import RunState
from headway_engine.store.records import NewRun, Run

if TYPE_CHECKING:
    from headway.wire import BlobRef
    from headway.wire.enqueue import EnqueueItem
    from headway.wire.fleet import TaskSpec


def new_run(
    ns: str,
    item: EnqueueItem,
    spec: TaskSpec,
    base: datetime,
    body: bytes,
    ref: BlobRef | None,
    digest: str,
    reply: str,
) -> NewRun:
    """The record of an enqueue. `base`: its INGEST time, not later than the store's now (C4).

    Raises OverflowError if a time is beyond what can be written.
    """
    at = None if item.at is None else item.at.astimezone(UTC)
    due = at or (base + timedelta(seconds=item.delay) if item.delay else None)
    run = Run(
        item.run,
        ns,
        item.task,
        item.queue or spec.queue,
        RunState.QUEUED,
        base,
        version=item.version or "",
        shared=spec.isolation == "shared",
        limit_key=item.limit_key,
        priority=item.priority,
        due_at=due,
        ttl_at=None if item.ttl is None else (due or base) + timedelta(seconds=item.ttl),
        deadline_at=None if item.deadline is None else base + timedelta(seconds=item.deadline),
        parent=item.parent or "",
        root=item.root or item.run,
        key=item.key or "",
        keep_key=item.keep_key,
        reply=reply,
        trace=item.trace,
        tags=item.tags,
        policy=spec.policy(),
        timeout=spec.timeout,
    )
    scope = item.parent or "" if item.key_scope == "parent" else ""
    until = base + timedelta(seconds=item.key_ttl) if item.key else None
    return NewRun(run, body, ref, digest, scope, until, item.schema or spec.schema_hash, base)
