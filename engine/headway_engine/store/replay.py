"""What a replay enqueues, with no I/O: the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway.states import TERMINAL, RunState
from headway_engine.store.records import NewRun, Run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from headway.wire import BlobRef
    from headway.wire.commands import ReplayAsk


def replayed(
    run: Run,
    ask: ReplayAsk,
    now: datetime,
    payload: bytes,
    ref: BlobRef | None,
    payload_hash: str,
    schema: str,
    tags: tuple[str, ...],
    mark_refs: Iterable[BlobRef] = (),
) -> NewRun | str:
    """A new run from the start, with the same payload; or why not.

    It takes no idempotency key (DECISIONS C3). Done once marks are copied and the root is kept, so
    that tokens stay the same; if marks are cleared by name, the new run is its own root, so that
    those run under a new token.
    """
    if run.state not in TERMINAL and run.state is not RunState.REVIEW:
        return f"the run is {run.state.status}: replay takes runs that have ended, or are in review"
    version = {"": "", "original": run.version}.get(ask.version, ask.version)
    new = Run(
        id=ask.new_run,
        ns=run.ns,
        task=run.task,
        queue=ask.queue or run.queue,
        state=RunState.QUEUED,
        created_at=now,
        version=version,
        shared=run.shared,
        limit_key=run.limit_key,
        priority=run.priority,
        parent=run.parent,
        root=ask.new_run if ask.clear else run.root,
        origin=run.id,
        trace=run.trace,
        policy=run.policy,
        timeout=run.timeout,
    )
    return NewRun(
        new,
        payload,
        None if ref is None else replace(ref, key=moved(ref.key, run.id, new.id)),
        payload_hash,
        tags=tags,
        schema_hash=schema,
        queued_at=now,
        copy_from=run.id,
        clear=ask.clear,
        blobs=tuple(sorted({r.key for r in (ref, *mark_refs) if r is not None})),
    )


def moved(key: str, source: str, target: str) -> str:
    """The key of a copied blob; `copy_marks` does the same."""
    return key.replace(f"/{source}/", f"/{target}/")
