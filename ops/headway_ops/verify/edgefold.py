"""What the messages of one id in RUNS say, at the edge: facts for the checks. Pure.

Shapes and fold are the checker's own: the engine's could hide what it does wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from headway.wire import BlobRef
from headway_ops.verify.facts import Body, Checkpoint, Event, History, Mark, Run

if TYPE_CHECKING:
    from collections.abc import Iterable

BY_ATTEMPT = frozenset({"step", "once"})
"""Kinds of events with which an attempt writes a mark."""
_TIMES = (
    "due_at", "ttl_at", "deadline_at", "claimed_at", "started_at", "attempt_at", "ended_at",
)  # fmt: skip
_SAME = (
    "version", "epoch", "n", "ck", "failures", "agent", "session", "reason", "key", "root",
    "origin",
)  # fmt: skip


class _Event(Struct):
    n: int
    at: datetime
    kind: str
    epoch: int = 0
    source: str = ""
    target: str = ""
    actor: str = ""
    data: dict[str, Any] = {}


class _Made(Struct):
    hash: str = ""
    scope: str = ""
    payload_ref: BlobRef | None = None


class _End(Struct):
    result: Raw = Raw(b"")
    ref: BlobRef | None = None


class _Point(Struct):
    number: int
    name: str
    sha256: str
    size: int
    epoch: int = 0
    state: Raw = Raw(b"")
    ref: BlobRef | None = None
    keep: bool = False


class _Record(Struct):
    key: str
    kind: str
    status: str = "done"
    epoch: int = 0
    resolved: str = ""
    value: Raw = Raw(b"")
    ref: BlobRef | None = None


class _Mark(Struct):
    record: _Record
    token: str = ""


class _Used(Struct):
    epoch: int
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


class _Change(Struct):
    at: datetime
    fields: dict[str, Any] = {}
    made: _Made | None = None
    end: _End | None = None
    checkpoints: list[_Point] = []
    dropped: list[int] = []
    marks: list[_Mark] = []
    usage: list[_Used] = []
    budget: tuple[float, int] | None = None
    dispatch: str = ""
    timeout: float | None = None
    keep: int | None = None
    refused: tuple[str, str] | None = None
    alias: str = ""
    removed: bool = False


class Said(Struct):
    """A body on `hw.run.<ns>.<id>.>`, as far as the checks need it."""

    run: str
    edge: _Change
    events: list[_Event] = []


SAID = msgspec.json.Decoder(Said)


@dataclass(slots=True)
class Told:
    """What all messages of an id say together."""

    id: str
    ns: str
    seq: int = 0
    """Of the last one."""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the run; empty = there is none, or it was removed."""
    events: list[Event] = field(default_factory=list[Event])
    checkpoints: dict[int, tuple[str, Checkpoint]] = field(
        default_factory=dict[int, tuple[str, Checkpoint]]
    )
    """(name, facts) by number."""
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    usage: dict[tuple[int, str], tuple[int, int, float]] = field(
        default_factory=dict[tuple[int, str], tuple[int, int, float]]
    )
    scope: str = ""
    budget: tuple[float, int] = (0.0, 0)
    dispatch: int = 0
    timeout: float = 3600.0
    keep: int = 20
    payload: Body | None = None
    result: Body | None = None
    ended: bool = False
    """Its end is recorded."""
    removed: bool = False
    """Retention has removed it."""
    hash: str = ""
    """Of the payload's canonical form."""
    result_hash: str = ""
    values: dict[str, str] = field(default_factory=dict[str, str])
    """Key of a mark to the hash of its value."""
    alias: str = ""
    """The run that an enqueue under this id became."""
    refused: str = ""
    """Why an enqueue under this id was refused: a code."""
    seqs: list[int] = field(default_factory=list[int])
    """Of each event, the message that tells it."""

    @property
    def limit_key(self) -> str:
        """The key of its queue's per-key limit."""
        return self.fields.get("limit_key", "")

    def time(self, name: str) -> datetime | None:
        """A time of the run."""
        text = self.fields.get(name)
        return datetime.fromisoformat(text) if text else None

    def _move(self, change: _Change, seq: int) -> None:
        self.seq = seq
        if (made := change.made) is not None:
            self.scope, self.hash = made.scope, made.hash
            self.payload = _body(self.id, "payload", made.payload_ref)
        self.fields |= change.fields
        if "state" in change.fields:
            self.dispatch = 0
        if change.dispatch:
            self.dispatch = seq if change.dispatch == "given" else 0
        if change.end is not None:
            self.ended, self.result = True, _body(self.id, "result", change.end.ref)
            self.result_hash = _hash(change.end.result, change.end.ref)
        self.timeout = self.timeout if change.timeout is None else change.timeout
        self.keep = self.keep if change.keep is None else change.keep
        self.budget = change.budget or self.budget
        self.alias = change.alias or self.alias
        if change.refused is not None:
            self.refused = change.refused[0]

    def take(self, said: Said, seq: int) -> None:
        """One more message; those of an id come in their order."""
        change = said.edge
        self._move(change, seq)
        events = [Event(*msgspec.structs.astuple(e)) for e in said.events]
        self.events += events
        self.seqs += [seq] * len(events)
        epoch: int = self.fields.get("epoch", 0)
        for c in change.checkpoints:
            inline = c.ref is None
            state = bytes(c.state)
            self.checkpoints[c.number] = c.name, Checkpoint(
                c.number, c.epoch, epoch if c.epoch else 0, c.size, c.sha256,
                _body(self.id, f"checkpoint {c.number}", c.ref), c.keep,
                sha256(state).hexdigest() if inline else "", len(state),
            )  # fmt: skip
        for number in change.dropped:
            self.checkpoints.pop(number, None)
        by_attempt = {e.data.get("key") for e in events if e.kind in BY_ATTEMPT}
        for m in change.marks:
            r = m.record
            self.marks[r.key] = Mark(
                r.key, r.kind, r.status, r.epoch, epoch if r.key in by_attempt else None, m.token,
                r.resolved, change.at, _body(self.id, f"{r.kind} {r.key!r}", r.ref),
            )  # fmt: skip
            self.values[r.key] = _hash(r.value, r.ref)
        for u in change.usage:
            self.usage[u.epoch, u.model] = (u.tokens_in, u.tokens_out, u.cost_usd)

    def history(self) -> History | None:
        """For the checks; None if there is no run."""
        created = self.time("created_at")
        if created is None:
            return None
        known: dict[str, Any] = {name: self.time(name) for name in _TIMES}
        known |= {name: self.fields[name] for name in _SAME if name in self.fields}
        run = Run(
            self.id, self.ns, self.fields.get("task", ""), self.fields.get("queue", ""),
            self.fields.get("state", ""), created, keep_ck=self.keep, timeout_s=self.timeout,
            dispatch=self.dispatch or None, key_scope=self.scope, result=self.ended, **known,
        )  # fmt: skip
        return History(
            run,
            self.events,
            [self.checkpoints[number][1] for number in sorted(self.checkpoints)],
            [self.marks[key] for key in sorted(self.marks)],
            [body for body in (self.payload, self.result) if body is not None],
        )


def told(run: str, ns: str, messages: Iterable[tuple[int, Said]]) -> Told:
    """All that the messages of an id say; nothing of what was before it was removed."""
    found = Told(run, ns)
    for seq, said in messages:
        if said.edge.removed:
            found = Told(run, ns, seq, removed=True)
        else:
            found.take(said, seq)
    return found


def _hash(inline: Raw, ref: BlobRef | None) -> str:
    return sha256(bytes(inline)).hexdigest() if ref is None else ref.sha256


def _body(run: str, what: str, ref: BlobRef | None) -> Body | None:
    return None if ref is None else Body(run, what, ref.key, ref.size, ref.sha256)
