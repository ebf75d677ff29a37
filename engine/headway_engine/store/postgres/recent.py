"""What this process knows of runs that it has just written: their next move need not load them.

Nothing here is trusted: a write takes effect only if the row is still at the number of its last
event and at its epoch, and every change of a run raises that number. What was wrong is loaded and
decided again. Bounded: the oldest are forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.states import RunState
from headway_engine.store.postgres import rows

if TYPE_CHECKING:
    from headway_engine.store.records import NewRun, Run

RUNS = 20_000
FRESH = 4096
PAYLOAD = 16 * 1024
"""Larger payloads are not kept: a claim reads them."""
_OPEN = (RunState.STARTING, RunState.RUNNING)


class Recent:
    """The last record of open attempts, and runs that were dispatched by their own enqueue."""

    def __init__(self) -> None:
        self._open: dict[str, Run] = {}
        self._fresh: dict[str, tuple[dict[str, Any], Run, str]] = {}

    def wrote(self, run: Run) -> None:
        """This is what the store holds now."""
        if run.state not in _OPEN:
            self._open.pop(run.id, None)
            return
        self._open[run.id] = run
        if len(self._open) > RUNS:
            del self._open[next(iter(self._open))]

    def forget(self, run: str) -> None:
        """It was changed in a way that is not followed here."""
        self._open.pop(run, None)

    def open(self, run: str) -> Run | None:
        """The record of an open attempt, about."""
        return self._open.get(run)

    def enqueued(self, new: NewRun, run: Run) -> None:
        """It was recorded and dispatched in one commit; no checkpoint, no marks."""
        if len(new.payload) > PAYLOAD:
            return
        row: dict[str, Any] = {
            "id": run.id, "n": run.n, "body": new.payload, "body_ref": rows.pack(new.payload_ref),
            "number": 0, "name": "", "schema": "", "ck_state": None, "ck_ref": None,
            "marked": False, "tags": run.tags,
        }  # fmt: skip
        self._fresh[run.id] = (row, run, new.schema_hash)
        if len(self._fresh) > FRESH:
            del self._fresh[next(iter(self._fresh))]

    def take(self, run: str) -> tuple[dict[str, Any], Run, str] | None:
        """What a claim needs of a run that was just enqueued, and its payload's schema; once."""
        return self._fresh.pop(run, None)
