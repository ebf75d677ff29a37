"""In an engine without the role `dispatch`: what dispatchers of other engines must know is told.

Hints are best effort on `hw.wake`, gathered over one turn of the loop; a dispatcher that hears none
of them finds the same in the store within a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway import subjects
from headway.states import OPEN, RunState
from headway_engine.credits import Credits, Place
from headway_engine.dispatch import Dispatcher, free_hint, left_hint, place_hint, taken_hints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.client import Client as NatsClient

    from headway_engine.dispatch import Counts
    from headway_engine.post import Post
    from headway_engine.store import Store
    from headway_engine.store.records import AgentState, Outcome, QueueState


class Hinter:
    """Posts each hint once a turn of the loop."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._texts: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()

    def say(self, about: str, text: str) -> None:
        """The last word about each thing counts."""
        if not self._texts:
            self._loop.call_soon(self._flush)
        self._texts[about] = text

    def _flush(self) -> None:
        texts, self._texts = self._texts, {}
        for text in texts.values():
            self._post.put(subjects.WAKE, text.encode())


class FarCredits(Credits):
    """Keeps no count: what an agent says of its slots goes to those who dispatch."""

    def __init__(self, hinter: Hinter) -> None:
        super().__init__()
        self._hinter = hinter

    def registered(
        self,
        ns: str,
        agent: str,
        queues: tuple[str, ...],
        slots: int,
        shared_slots: int,
        now: float,
    ) -> None:
        """A new agent is seen in the store, at the next look."""

    def heard(
        self, ns: str, agent: str, free: int, shared_free: int, now: float
    ) -> tuple[Place, ...]:
        """Pass it on."""
        self._hinter.say(f"{ns}.{agent}", free_hint(ns, agent, free, shared_free))
        return ()


class Elsewhere(Dispatcher):
    """Stands where the dispatcher would, and is never started."""

    def __init__(self, nc: NatsClient, store: Store, post: Post) -> None:
        hinter = self._hinter = Hinter(post)
        super().__init__(nc, store, post, FarCredits(hinter), str, _nothing)

    def mark(self, place: Place, *, shared: bool | None = None) -> None:
        """Runs may wait in this queue."""
        self._hinter.say(f"queue {place}", place_hint(place))

    def hint(self, place: Place) -> None:
        """The same."""
        self.mark(place)

    def changed(self, place: Place) -> None:
        """The same."""
        self.mark(place)

    def freed(self, places: Iterable[Place]) -> None:
        """`FarCredits` has told it."""

    def told(self, outcomes: Iterable[Outcome]) -> None:
        """Commits that made runs QUEUED, or that freed a slot of a queue, which may be limited."""
        for outcome in outcomes:
            run = outcome.run
            if run is None or not outcome.events:
                continue
            place = (run.ns, run.queue)
            if run.state is RunState.QUEUED:
                self.mark(place)
            elif run.state not in OPEN:
                self._hinter.say(f"left {place}", left_hint(place))

    def hinted(self, body: bytes) -> None:
        """Hints are for those who dispatch."""

    def taken(self, runs: Iterable[str]) -> None:
        """These were claimed, or their claim was refused."""
        for text in taken_hints(list(runs)):
            self._post.put(subjects.WAKE, text.encode())

    def reserve(self, ns: str, counts: Counts) -> Counts:
        """Nothing may go with its own commit."""
        return {}

    def counted(self, states: Iterable[QueueState], agents: Iterable[AgentState]) -> None:
        """The dispatchers look for themselves."""


async def _nothing() -> None: ...
