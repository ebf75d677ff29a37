"""Which waiting runs may go, and who gets them: queues, their limits, dispatches and claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from headway_engine.store.records import LAST_SEQ, Claimed, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.fleet import QueueAsk, QueueRow
    from headway_engine.store.records import Dispatch, QueueState

__all__ = ["ClaimAnswer", "Dispatching"]


class ClaimAnswer(Struct):
    """What `claim` decided."""

    claimed: list[Claimed] = []
    refused: list[tuple[str, str]] = []
    session_over: bool = False
    overdue: bool = False
    """Nothing was decided: the lease is overdue, and a beat has to renew it first."""
    outcomes: list[Outcome] = []
    """Transitions besides the claims (VersionMissing → REVIEW), to be published."""
    imageless: list[tuple[str, str, str, str]] = []
    """Refused since this agent lacks the image: (run, queue, version, image)."""


class Dispatching(Protocol):
    """Which waiting runs may go, and who gets them: queues, their limits, dispatches and claims."""

    async def queues(self) -> list[QueueState]:
        """All queues of all namespaces that have settings, agents or waiting runs."""
        ...

    async def dispatch(self, ns: str, queue: str, room: int, shared_room: int) -> Dispatch | None:
        """Choose due runs within limits: priority, then runs that go on, then age; per-key heads.

        At most `room` run-isolated and `shared_room` shared ones. One dispatcher per queue at a
        time (the queue's row is locked, `SKIP LOCKED`). Without runs: nothing may go now. None:
        another engine is at it, or the queue is paused; what waits there is not known.
        """
        ...

    async def dispatched(self, batches: Sequence[tuple[int, int]], stream_created: str) -> None:
        """These are in WORK: (dispatch, sequence of its last message)."""
        ...

    async def undispatched(
        self,
        acked: dict[tuple[str, str], int],
        stream_created: str,
        older_than: float = 30.0,
        written: int = LAST_SEQ,
    ) -> list[Dispatch]:
        """Dispatches whose messages are gone, or that were never published: publish them again.

        `acked`: per (ns, queue) the consumer's ack floor in WORK (stream sequence). `written`: the
        last sequence of WORK: a killed server has forgotten what has a higher one. Older than so
        many seconds only, unless they are in another stream than `stream_created`. Batches with no
        run left to claim are forgotten.
        """
        ...

    async def claim(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        runs: Sequence[str],
        images: frozenset[str] | None,
    ) -> ClaimAnswer:
        """Give these runs to the agent's session, if its lease is live (DECISIONS B2).

        Each must be QUEUED and dispatched, its queue not paused and within its limits, its version
        known. Raises the epoch. The same nonce again gives the same answer. A refused run loses its
        dispatch in the same commit.
        """
        ...

    async def named_queues(self, ns: str) -> frozenset[str]:
        """Queues that a deployed task, an agent or a setting names; none is forgotten."""
        ...

    async def set_queue(self, ns: str, ask: QueueAsk, actor: str) -> QueueRow:
        """Change a queue's settings."""
        ...

    async def queue_rows(self, ns: str) -> list[QueueRow]:
        """Queues with their numbers."""
        ...
