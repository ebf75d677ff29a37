"""What a fork writes, with no I/O: the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from headway.codec import payload_hash
from headway.forks import kept_marks
from headway.states import TERMINAL, RunState
from headway.tags import retagged
from headway.wire import BlobRef
from headway.wire.runs import CheckpointRow
from headway_engine.store.records import Body, ForkPoint, GivenMark, GivenPoint, NewRun, Run, Start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.bundles import BundleFork
    from headway.wire.fleet import TaskSpec
    from headway.wire.replays import ForkAsk


class ForkSource(Struct):
    """All that is read of the run that is forked."""

    run: Run
    payload: bytes
    payload_ref: BlobRef | None
    payload_hash: str
    schema_hash: str
    checkpoints: list[CheckpointRow]
    """Those that are kept."""
    states: dict[int, BlobRef]
    """Large states, by checkpoint number."""
    marks: list[tuple[str, str, int, BlobRef | None]]
    """Done ones: (key, kind, number of the last checkpoint before it, large value)."""


def given(
    ns: str,
    ask: BundleFork,
    spec: TaskSpec,
    now: datetime,
    payload: Body,
    point: GivenPoint | None,
    marks: Sequence[GivenMark],
    actor: str,
) -> NewRun:
    """A new run from what a bundle holds, under the task's policy and queue here.

    Nothing of the original is here: it has no parent, takes no key, and is told its origin by id
    alone. The root is kept, so that tokens stay the same, as in `forked`.
    """
    number = 0 if point is None else point.number
    known = [(m.record.key, m.record.kind, m.after) for m in marks]
    names, kept, gone = kept_marks(known, number, ask.clear)
    wanted = set(names)
    new = Run(
        id=ask.new_run,
        ns=ns,
        task=ask.task,
        queue=ask.queue or spec.queue,
        state=RunState.QUEUED,
        created_at=now,
        version=ask.version,
        shared=spec.isolation == "shared",
        limit_key=ask.limit_key,
        priority=ask.priority,
        root=ask.new_run if gone else ask.root,
        origin=ask.origin,
        tags=retagged((), ask.tags, ()),
        policy=spec.policy(),
        timeout=spec.timeout,
        ck=number,
    )
    data: dict[str, Any] = {"origin": ask.origin, "checkpoint": number}
    if point is not None:
        data["name"] = point.name
    more = {
        "edited": list(ask.edited), "kept": kept, "cleared": gone, "by": actor,
        "site": ask.site, "bundle": ask.bundle,
    }  # fmt: skip
    data |= {field: value for field, value in more.items() if value}
    taken = tuple(m._replace(after=min(m.after, number)) for m in marks if m.record.key in wanted)
    return NewRun(
        new,
        b"" if payload.ref is not None else payload.body,
        payload.ref,
        payload.sha256 if payload.ref is not None else payload_hash(payload.body),
        queued_at=now,
        start=Start(point, taken, data),
    )


GONE = "the run, or the checkpoint, was removed in this moment"
"""Why a fork is refused whose source is not there any more at its commit."""


def forked(
    source: ForkSource,
    ask: ForkAsk,
    now: datetime,
    start: CheckpointRow | None,
    state: Body | None,
    payload: Body | None,
    actor: str,
    job: str = "",
) -> NewRun | str:
    """A new run from a checkpoint (None: from the start), or why not.

    It takes no idempotency key (DECISIONS C3). The root is kept, so that tokens stay the same; if a
    done mark is cleared in fact, the new run is its own root: what runs again has a new token.
    """
    run = source.run
    if run.state not in TERMINAL and run.state is not RunState.REVIEW:
        return (
            f"the run is {run.state.status}: a fork takes runs that have ended, or are in review"
            " (cancel it first)"
        )
    number = 0 if start is None else start.number
    known = [(key, kind, after) for key, kind, after, _ in source.marks]
    marks, kept, gone = kept_marks(known, number, ask.clear)
    new = Run(
        id=ask.new_run,
        ns=run.ns,
        task=run.task,
        queue=ask.queue or run.queue,
        state=RunState.QUEUED,
        created_at=now,
        version=run.version if ask.version == "original" else ask.version,
        shared=run.shared,
        limit_key=run.limit_key,
        priority=run.priority,
        parent=run.parent,
        root=ask.new_run if gone else run.root,
        origin=run.id,
        trace=run.trace,
        tags=retagged(run.tags, ask.tags, ()),
        policy=run.policy,
        timeout=run.timeout,
        ck=number,
    )
    data: dict[str, Any] = {"origin": run.id, "checkpoint": number}
    if start is not None:
        data["name"] = start.name
    edited = [what for what, body in (("state", state), ("payload", payload)) if body is not None]
    more = {"edited": edited, "kept": kept, "cleared": gone, "by": actor, "job": job}
    data |= {field: value for field, value in more.items() if value}
    refs = [ref for key, _, _, ref in source.marks if ref is not None and key in set(marks)]
    refs += [
        ref
        for n, ref in source.states.items()
        if n <= number and not (n == number and state is not None)
    ]
    if payload is None:
        body, ref, digest = source.payload, source.payload_ref, source.payload_hash
        if ref is not None:
            refs.append(ref)
            ref = replace(ref, key=moved(ref.key, run.id, new.id))
    else:
        body, ref = (b"", payload.ref) if payload.ref is not None else (payload.body, None)
        digest = payload.sha256 if ref is not None else payload_hash(body)
    return NewRun(
        new,
        body,
        ref,
        digest,
        # An edited payload was checked by the engine, against no hash of a client's.
        schema_hash=source.schema_hash if payload is None else "",
        queued_at=now,
        blobs=tuple(sorted({r.key for r in refs})),
        fork=ForkPoint(run.id, number, tuple(marks), state, tuple(kept), tuple(gone), data),
    )


def moved(key: str, source: str, target: str) -> str:
    """The key of a copied blob; `fork_marks` does the same."""
    return key.replace(f"/{source}/", f"/{target}/")
