"""Rows of the projection: a run's record as its columns, and what stands in one column."""

from __future__ import annotations

from typing import Any

from headway.wire import BlobRef, ErrorInfo, decoder, encode
from headway_engine.changes.messages import Record, freeze
from headway_engine.store.edge.times import us

_REF, _ERROR = decoder(BlobRef), decoder(ErrorInfo)

_COLUMNS = (
    "id", "ns", "seq", "state", "task", "queue", "version", "agent", "session", "epoch", "n", "ck",
    "failures", "priority", "resumed", "shared", "limit_key", "dispatch", "created_at",
    "queued_at", "due_at", "ttl_at", "deadline_at", "claimed_at", "attempt_at", "started_at",
    "ended_at", "timeout", "parent", "root", "origin", "key", "reason", "failure", "acked", "tags",
    "early", "noted_at", "budget_usd", "budget_tokens", "record",
)  # fmt: skip
UPSERT = (
    f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[1:])}"
)


def row_of(record: Record) -> tuple[Any, ...]:
    """The values of `UPSERT`."""
    r = record.run
    noted = us(record.removed_at or record.noted_at)
    usd, tokens = record.budget or (0.0, 0)
    tail = (record.early is not None, noted, usd, tokens, freeze(record))
    if r is None:
        return (
            record.id, record.ns, record.seq, None, "", "", "", "", 0, 0, 0, 0, 0, 0, 0, 0, "", 0,
            None, None, None, None, None, None, None, None, None, 0.0, "", "", "", "", "", "", 0,
            "[]", *tail,
        )  # fmt: skip
    return (
        record.id, record.ns, record.seq, r.state.value, r.task, r.queue, r.version, r.agent,
        r.session, r.epoch, r.n, r.ck, r.failures, r.priority, r.resumed, r.shared, r.limit_key,
        record.dispatch, us(r.created_at), us(record.queued_at), us(r.due_at), us(r.ttl_at),
        us(r.deadline_at), us(r.claimed_at), us(r.attempt_at), us(r.started_at), us(r.ended_at),
        record.timeout, r.parent, r.root, r.origin, r.key, r.reason, r.failure, r.acked,
        encode(r.tags).decode(), *tail,
    )  # fmt: skip


def error_of(text: str | None) -> ErrorInfo | None:
    """An error from its column."""
    return None if text is None else _ERROR.decode(text)


def ref_of(text: str | None) -> BlobRef | None:
    """A reference from its column."""
    return None if text is None else _REF.decode(text)


def text_of(ref: BlobRef | None) -> str | None:
    """The column of a reference."""
    return None if ref is None else encode(ref).decode()
