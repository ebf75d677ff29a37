"""Histories made by hand, as the checker reads them: right until a test damages one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from headway_ops.verify.facts import TERMINAL, Checkpoint, Event, History, Mark, Policy, Run

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
POLICY = Policy(3, 2.0, 1.0, 60.0, 0.1, T0 - timedelta(days=1))


def at(seconds: float) -> datetime:
    """So many seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def text(when: datetime) -> str:
    """As events hold it."""
    return when.isoformat().replace("+00:00", "Z")


class Story:
    """Builds a run event by event, a second apart; `edit` then damages one of them."""

    def __init__(self, **run: Any) -> None:
        self.fields: dict[str, Any] = {
            "id": RUN, "ns": "default", "task": "t", "queue": "default", "created_at": T0, **run,
        }  # fmt: skip
        self.events: list[Event] = []
        self.checkpoints: list[Checkpoint] = []
        self.marks: list[Mark] = []
        self.state, self.epoch, self.failures, self.ck = "", 0, 0, 0
        self.note("queued", to="QUEUED")

    def note(self, kind: str, to: str = "", epoch: int | None = None, **data: Any) -> Story:
        """One more event, a second after the last; with `to` the run moves there."""
        source = self.state if to else ""
        self.events.append(
            Event(len(self.events) + 1, at(len(self.events)), kind,
                  self.epoch if epoch is None else epoch, source, to, "", data)
        )  # fmt: skip
        self.state = to or self.state
        return self

    def claimed(self, **data: Any) -> Story:
        """An attempt begins."""
        self.epoch += 1
        given = {"attempt": self.failures + 1, "checkpoint": self.ck} | data
        return self.note("starting", "STARTING", **given)

    def started(self, **data: Any) -> Story:
        """Its code runs."""
        return self.note("started", "RUNNING", **data)

    def saved(self) -> Story:
        """A checkpoint."""
        self.ck += 1
        sha = f"sha-{self.ck}"
        self.checkpoints.append(
            Checkpoint(self.ck, self.epoch, self.epoch, 2, sha, found=sha, found_size=2)
        )
        return self.note("checkpoint", number=self.ck)

    def once(self, status: str, key: str = "pay", **data: Any) -> Story:
        """A move of a once mark."""
        self.marks = [m for m in self.marks if m.key != key]
        self.marks.append(Mark(key, "once", status, self.epoch, self.epoch, "tok"))
        return self.note("once", key=key, status=status, **data)

    def failed(self, delay: float = 1.0, **data: Any) -> Story:
        """The attempt failed and is tried again after `delay` seconds."""
        self.failures += 1
        due = text(at(len(self.events) + delay))
        return self.note("retrying", "RETRYING", attempt=self.failures, max_attempts=3,
                         due_at=due, **data)  # fmt: skip

    def lost(self, **data: Any) -> Story:
        """The attempt went away."""
        self.note("lost", "QUEUED", **data)
        self.epoch += 1
        return self

    def succeeded(self) -> Story:
        """The end."""
        return self.note("succeeded", "SUCCEEDED")

    def edit(self, n: int, **fields: Any) -> Story:
        """Damage event `n`."""
        self.events[n - 1] = self.events[n - 1]._replace(**fields)
        return self

    def without(self, n: int) -> Story:
        """Take event `n` away."""
        self.events = [e for e in self.events if e.n != n]
        return self

    def history(self, **run: Any) -> History:
        """As it is read from the store; `run` goes over the row."""
        ended = self.state in TERMINAL
        fields: dict[str, Any] = {
            "state": self.state, "epoch": self.epoch, "n": max(e.n for e in self.events),
            "ck": self.ck, "failures": self.failures, "ended_at": T0 if ended else None,
            "result": self.state == "SUCCEEDED",
        }  # fmt: skip
        return History(
            Run(**self.fields | fields | run), self.events, self.checkpoints, self.marks,
            policy=POLICY,
        )  # fmt: skip
