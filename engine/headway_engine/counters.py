"""What an engine refused, repeated or lost, by name: numbers that only grow, from its start on.

They are said in each beat (`hw.hb.engine.<id>`) and in the answer to `$SRV.STATS.headway`. A rate
that rises says where to look; each of them is normal after a crash. A killed process takes the
counts of its last second with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway_engine.store.records import EnqueueOutcome, Outcome, SaveDone

COUNTED = {
    "stale_epoch": "saves and reports refused: a newer attempt exists, or the run has moved on",
    "late_save": "saves that were in the store already: the answer had been lost",
    "late_report": "reports of ends that were committed already: the answer had been lost",
    "save_conflict": "saves refused: another content under that number or key, or a gap",
    "save_rejected": "saves refused as poison",
    "cancelling": "once blocks not entered: their run was being cancelled",
    "redelivered": "INGEST messages that were delivered before",
    "duplicate_delivery": "enqueues whose run was recorded already",
    "duplicate_enqueue": "enqueues whose key belongs to another run: that one was answered",
    "key_conflict": "enqueues refused: another payload under a live key, or under the same id",
    "claim_refused": "claims refused: the run had moved on, or is not to be run now",
    "session_over": "beats and claims of agents whose lease had ended",
    "lost_lease": "attempts lost with their agent's lease",
    "lost": "attempts lost for any reason; no retry used",
    "review": "runs that wait for a person",
    "ambiguous_once": "those of them whose once block was interrupted",
    "replayed_outbox": "runs whose events were published by a sweeper: their engine did not",
    "told_again": "messages on RUNS told again to a NATS that was restarted",
}
"""Each counter with what it counts."""

_SAVES = {
    "ok": "late_save",  # without an event nothing was written
    "stale_epoch": "stale_epoch",
    "conflict": "save_conflict",
    "gap": "save_conflict",
    "cancelling": "cancelling",
    "rejected": "save_rejected",
}
_MOVES = {"stale_epoch": "stale_epoch", "already": "late_report"}
_ENQUEUES = {"again": "duplicate_delivery", "duplicate": "duplicate_enqueue"}


class Counters(dict[str, int]):
    """All of COUNTED, from zero. One per engine."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COUNTED, 0))
        self.kinds: dict[str, int] = {}
        """Events of committed transitions, by kind."""

    def save(self, done: SaveDone) -> None:
        """A save."""
        if done.events:
            if done.events[0].kind == "started":  # the save came before the report of it
                self.kinds["started"] = self.kinds.get("started", 0) + 1
        elif (name := _SAVES.get(done.outcome)) is not None:
            self[name] += 1

    def moved(self, outcomes: Iterable[Outcome]) -> None:
        """Transitions, of whichever cause."""
        for outcome in outcomes:
            if outcome.outcome != "ok":
                if (name := _MOVES.get(outcome.outcome)) is not None:
                    self[name] += 1
                continue
            for event in outcome.events:
                self.kinds[event.kind] = self.kinds.get(event.kind, 0) + 1
                if event.kind == "lost":
                    self["lost"] += 1
                elif event.kind == "review":
                    self["review"] += 1
                    self["ambiguous_once"] += event.data.get("reason") in ("once", "unconfirmed")

    def enqueued(self, outcomes: Iterable[EnqueueOutcome]) -> None:
        """A batch of enqueues."""
        for outcome in outcomes:
            if (name := _ENQUEUES.get(outcome.outcome)) is not None:
                self[name] += 1
            elif outcome.code in ("conflict", "key_conflict"):
                self["key_conflict"] += 1
