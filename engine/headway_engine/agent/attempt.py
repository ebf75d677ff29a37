"""One attempt that this agent holds: what is known of it between its claim and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headway.wire.frames import Fail, Finish, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire import BlobRef
    from headway.wire.rpc import Assignment
    from headway_engine.agent.children import Child
    from headway_engine.agent.logs import LogStream
    from headway_engine.agent.plans import Plan
    from headway_engine.agent.worker import Worker

Terminal = Finish | Fail | Wait
STRENGTH = {
    "": 0, "drain": 1, "timeout": 2, "recycle": 3, "outside": 3, "cancel": 4, "stale": 5,
}  # fmt: skip
"""Why an attempt is stopped; a stronger reason replaces a weaker one. `outside`: by SIGTERM, and
not by us (the Docker daemon or the host stops)."""


@dataclass(slots=True, eq=False)
class Attempt:
    """The agent's record of one attempt. Times are monotonic seconds."""

    assignment: Assignment
    plan: Plan
    engine: str
    """Who answered the claim: its saves go there first."""
    given_at: float
    worker: Worker | None = None
    slot: int = 0
    tries: int = 0
    """Workers that it was offered to."""
    dispatched_at: float = 0.0
    """When it got its worker; 0 = not yet."""
    sent_at: float = 0.0
    """When its run frame was sent, after all that is large; 0 = not yet."""
    started: bool = False
    started_sent: bool = False
    held: list[Callable[[], None]] | None = None
    """Saves that wait until `started` is answered, or it would lack where and how it started."""
    deadline: float = float("inf")
    intent: str = ""
    """Why it is being stopped, recorded before anything is killed."""
    leave_at: float | None = None
    """It shall be given back at its next checkpoint, or then; None = it may stay."""
    stage: int = 0
    """Of stopping it: 0 no, 1 asked, 2 SIGTERM, 3 SIGKILL."""
    stop_at: float = float("inf")
    terminal: Terminal | None = None
    reporting: bool = False
    """Its end is on the way to the engine."""
    released: bool = False
    """Its slot is free again: its code has ended, only the word of it is under way."""
    violation: str = ""
    log: LogStream | None = None
    last_span: int = 0
    """The number of the last span that came; -1 = not known, since it was adopted."""
    spans_lost: int = 0
    """Spans that its runner dropped, and that were dropped here."""
    children: dict[str, Child] = field(default_factory=dict[str, "Child"])
    """By key, as far as this agent knows them."""
    refs: dict[str, BlobRef] = field(default_factory=dict[str, "BlobRef"])
    """Where values of its marks lie that are too large for a frame."""

    @property
    def run(self) -> str:
        """The run's id."""
        return self.assignment.run

    @property
    def epoch(self) -> int:
        """The fencing number."""
        return self.assignment.epoch

    @property
    def shared(self) -> bool:
        """Is it one of many in its worker?"""
        return self.plan.shared


class Journal:
    """What is written down of attempts for the next agent; see `journal.FileJournal`."""

    def begin(self, attempt: Attempt, worker: Worker) -> None:
        """It was handed to a worker."""

    def end(self, attempt: Attempt) -> None:
        """It is over."""
