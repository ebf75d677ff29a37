"""What a fork writes, with no I/O: the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from headway.codec import payload_hash
from headway.forks import cleared
from headway.states import TERMINAL, RunState
from headway.wire import BlobRef
from headway.wire.commands import CheckpointRow
from headway_engine.store.records import Body, ForkPoint, NewRun, Run

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.replays import ForkAsk


class ForkSource(Struct):
    """All that is read of the run that is forked."""

    run: Run
    payload: bytes
    payload_ref: BlobRef | None
    payload_hash: str
    schema_hash: str
    tags: tuple[str, ...]
    checkpoints: list[CheckpointRow]
    """Those that are kept."""
    states: dict[int, BlobRef]
    """Large states, by checkpoint number."""
    marks: list[tuple[str, str, int, BlobRef | None]]
    """Done ones: (key, kind, number of the last checkpoint before it, large value)."""


GONE = "the run, or the checkpoint, was removed in this moment"
"""Why a fork is refused whose source is not there any more at its commit."""


def copied_marks(source: ForkSource, number: int, clear: tuple[str, ...]) -> tuple[list[str], ...]:
    """(all that are copied, once keys that stay done, once keys that are cleared).

    Steps, waits and children recorded before checkpoint `number` was saved stay, later ones happen
    again; done once marks stay on whichever side they are (DECISIONS G2).
    """
    once = [key for key, kind, _, _ in source.marks if kind == "once"]
    gone = cleared(once, clear)
    kept = sorted(set(once) - set(gone))
    steps = [key for key, kind, after, _ in source.marks if kind != "once" and after < number]
    return sorted([*kept, *steps]), kept, gone


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
    marks, kept, gone = copied_marks(source, number, ask.clear)
    tags = tuple(dict.fromkeys((*source.tags, *ask.tags)))
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
        tags=tags,
        # An edited payload was checked by the engine, against no hash of a client's.
        schema_hash=source.schema_hash if payload is None else "",
        queued_at=now,
        blobs=tuple(sorted({r.key for r in refs})),
        fork=ForkPoint(run.id, number, tuple(marks), state, tuple(kept), tuple(gone), data),
    )


def moved(key: str, source: str, target: str) -> str:
    """The key of a copied blob; `fork_marks` does the same."""
    return key.replace(f"/{source}/", f"/{target}/")
