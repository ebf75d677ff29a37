"""What the messages of one id in RUNS say, at the edge: facts for the checks. Pure.

A fold of its own, of the JSON as it is stored: the engine's could hide what it does wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from headway_ops.verify.facts import Body, Checkpoint, Event, History, Mark, Run

Json = dict[str, Any]

TIMES = frozenset(
    {
        "created_at", "due_at", "ttl_at", "deadline_at", "claimed_at", "started_at", "attempt_at",
        "ended_at",
    }
)  # fmt: skip
BY_ATTEMPT = frozenset({"step", "once"})
"""Kinds of events with which an attempt writes a mark."""


class Said(NamedTuple):
    """One message on `hw.run.<ns>.<id>.>`."""

    seq: int
    body: Json


@dataclass(slots=True)
class Told:
    """What all messages of an id say together."""

    id: str
    ns: str
    seq: int = 0
    """Of the last one."""
    fields: Json = field(default_factory=dict[str, Any])
    """Of the run; empty = there is none, or it was removed."""
    events: list[Event] = field(default_factory=list[Event])
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict[int, Checkpoint])
    names: dict[int, str] = field(default_factory=dict[int, str])
    """Of checkpoints."""
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    usage: dict[tuple[int, str], tuple[int, int, float]] = field(
        default_factory=dict[tuple[int, str], tuple[int, int, float]]
    )
    tags: tuple[str, ...] = ()
    scope: str = ""
    budget: tuple[float, int] = (0.0, 0)
    dispatch: int = 0
    timeout: float = 3600.0
    keep: int = 20
    payload: Body | None = None
    result: Body | None = None
    ended: bool = False
    """Its end is recorded."""

    def time(self, name: str) -> datetime | None:
        """A time of the run."""
        text = self.fields.get(name)
        return datetime.fromisoformat(text) if text else None

    def take(self, said: Said) -> None:
        """One more message; those of an id come in their order."""
        body, change = said.body, said.body["edge"]
        if change.get("removed"):
            self.__init__(self.id, self.ns, said.seq)
            return
        self.seq = said.seq
        at = datetime.fromisoformat(change["at"])
        if made := change.get("made"):
            self.tags, self.scope = tuple(made.get("tags", ())), made.get("scope", "")
            self.payload = _ref(self.id, "payload", made.get("payload_ref"))
        fields: Json = change.get("fields") or {}
        self.fields |= fields
        if "state" in fields:
            self.dispatch = 0
        if given := change.get("dispatch"):
            self.dispatch = said.seq if given == "given" else 0
        if end := change.get("end"):
            self.ended, self.result = True, _ref(self.id, "result", end.get("ref"))
        self.timeout = change.get("timeout", self.timeout)
        self.keep = change.get("keep", self.keep)
        self.budget = tuple(change.get("budget") or self.budget)
        events = [_event(e) for e in body.get("events", ())]
        self.events += events
        self._saved(change, events, at)

    def _saved(self, change: Json, events: list[Event], at: datetime) -> None:
        epoch = self.fields.get("epoch", 0)
        for c in change.get("checkpoints", ()):
            state = c.get("state")
            self.names[c["number"]] = c["name"]
            self.checkpoints[c["number"]] = Checkpoint(
                c["number"], c.get("epoch", 0), epoch if c.get("epoch", 0) else 0, c["size"],
                c["sha256"], _ref(self.id, f"checkpoint {c['number']}", c.get("ref")),
                c.get("keep", False), "" if state is None else sha256(state).hexdigest(),
                0 if state is None else len(state),
            )  # fmt: skip
        for number in change.get("dropped", ()):
            self.checkpoints.pop(number, None)
            self.names.pop(number, None)
        by_attempt = {e.data.get("key") for e in events if e.kind in BY_ATTEMPT}
        for m in change.get("marks", ()):
            r = m["record"]
            key: str = r["key"]
            self.marks[key] = Mark(
                key, r["kind"], r.get("status", "done"), r.get("epoch", 0),
                epoch if key in by_attempt else None, m.get("token", ""), r.get("resolved", ""),
                at, _ref(self.id, f"{r['kind']} {key!r}", r.get("ref")),
            )  # fmt: skip
        for u in change.get("usage", ()):
            self.usage[u["epoch"], u["model"]] = (
                u.get("tokens_in", 0), u.get("tokens_out", 0), u.get("cost_usd", 0.0)
            )  # fmt: skip

    def history(self) -> History | None:
        """For the checks; None if there is no run."""
        if not self.fields:
            return None
        known = {name: self.time(name) for name in TIMES - {"created_at"}}
        same = {
            name: self.fields[name]
            for name in (
                "version", "epoch", "n", "ck", "failures", "agent", "session", "reason", "key",
                "root", "origin",
            )
            if name in self.fields
        }  # fmt: skip
        created = self.time("created_at")
        assert created is not None
        run = Run(
            self.id, self.ns, self.fields.get("task", ""), self.fields.get("queue", ""),
            self.fields["state"], created, keep_ck=self.keep, timeout_s=self.timeout,
            dispatch=self.dispatch or None, key_scope=self.scope, result=self.ended,
            **known, **same,
        )  # fmt: skip
        return History(
            run,
            self.events,
            [self.checkpoints[number] for number in sorted(self.checkpoints)],
            [self.marks[key] for key in sorted(self.marks)],
            [body for body in (self.payload, self.result) if body is not None],
        )


def _event(e: Json) -> Event:
    return Event(
        e["n"], datetime.fromisoformat(e["at"]), e["kind"], e.get("epoch", 0), e.get("source", ""),
        e.get("target", ""), e.get("actor", ""), e.get("data") or {},
    )  # fmt: skip


def _ref(run: str, what: str, ref: Json | None) -> Body | None:
    if ref is None:
        return None
    return Body(run, what, ref["key"], ref["size"], ref["sha256"])
