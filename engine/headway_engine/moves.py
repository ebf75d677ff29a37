"""How a transition is built: a copy of the run, its events numbered on, its moves checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headway.safe import failure_class
from headway.states import FAILURES, MOVES, TERMINAL, RunState
from headway.wire.events import Event
from headway_engine.store.records import End, Run, Stop, Transition

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire import ErrorInfo

S = RunState

KEY_FREED = frozenset({S.FAILED, S.TIMED_OUT, S.EXPIRED})
"""States that free the idempotency key, unless the caller said keep (DECISIONS C3)."""


def refuse(message: str, outcome: str = "refused") -> Transition:
    """Nothing changes."""
    return Transition(outcome=outcome, message=message)


ALREADY = Transition(outcome="already")
STALE = Transition(outcome="stale_epoch", message="a newer attempt exists, or the run has moved on")


class Move:
    """Builds one transition: a copy of the run, its events numbered from n + 1."""

    __slots__ = ("at", "events", "extra", "run", "source")

    def __init__(self, run: Run, at: datetime) -> None:
        self.run = msgspec.structs.replace(run)
        self.source = run.state
        self.at = at
        self.events: list[Event] = []
        self.extra: dict[str, Any] = {}

    def event(
        self,
        kind: str,
        *,
        epoch: int | None = None,
        actor: str = "engine",
        to: RunState | None = None,
        **data: Any,
    ) -> None:
        """Add an event; with `to`, the run moves there. Empty values stay out of its data."""
        run = self.run
        run.n += 1
        event = Event(run.n, self.at, kind, run.epoch if epoch is None else epoch, actor=actor)
        if to is not None:
            if to not in MOVES[run.state]:
                raise AssertionError(f"illegal move {run.state} -> {to}")
            event.source, event.target = run.state.value, to.value
            run.state = to
            if to in TERMINAL:
                self._end(to)
        if data:
            event.data = {k: v for k, v in data.items() if v not in ("", None, False)}
        self.events.append(event)

    def _end(self, to: RunState) -> None:
        run = self.run
        run.ended_at = self.at
        run.due_at = run.ttl_at = run.deadline_at = None
        if to in KEY_FREED and run.key and not run.keep_key:
            self.extra["free_key"] = True

    def fence(self) -> None:
        """The open attempt, if any, may write no more."""
        self.run.epoch += 1

    def stop(self, why: str, epoch: int) -> None:
        """Tell the agent of the open attempt to stop it."""
        if self.run.agent:
            self.extra["stop"] = Stop(self.run.agent, epoch, why)

    def end(self, end: End) -> None:
        """What is kept of the run's end; a failure is a dead letter from now on."""
        self.extra["end"] = end
        if self.run.state in FAILURES and end.error is not None:
            self.run.failure = failure_class(end.error.type)

    def done(self) -> Transition:
        """The transition."""
        return Transition(run=self.run, events=self.events, **self.extra)


def error_data(error: ErrorInfo) -> dict[str, Any]:
    """An error as an event shows it: no traceback."""
    return {"type": error.type, "message": error.message[:2000]}
