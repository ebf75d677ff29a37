"""How many runs may lie in WORK: what live agents have free, less what is on its way; no I/O.

Every engine knows every live agent, from its envelopes or from the store, and takes an even share
of what they have free; what it has dispatched itself it knows run by run. Counts are hints that
heal by themselves: the claim decides, and the store's numbers correct them once a second
(DECISIONS D1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

STALE_AFTER = 12.0
"""Seconds without a word (its own, or the store's) after which an agent's slots do not count."""
FRESH = 1.5
"""Seconds for which an agent's own word is better than the store's."""

Place = tuple[str, str]
"""(namespace, queue)."""


class Room(NamedTuple):
    """Runs that may be dispatched: one in its own container each, and shared ones."""

    run: int
    shared: int


NO_ROOM = Room(0, 0)


class _Agent:
    __slots__ = ("free", "heard", "places", "said", "shared_free", "shared_slots", "slots")

    def __init__(self, places: tuple[Place, ...], slots: int, shared_slots: int) -> None:
        self.places = places
        self.slots, self.shared_slots = slots, shared_slots
        self.free, self.shared_free = slots, shared_slots
        self.heard = 0.0
        self.said = float("-inf")


class Credits:
    """The free slots of the agents, and the dispatched runs that nobody has claimed yet."""

    def __init__(self) -> None:
        self.engines = 1
        """Live engines, this one included: each takes an even share."""
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._by_place: dict[Place, list[_Agent]] = {}
        self._counts: dict[Place, list[int]] = {}
        self._sent: dict[str, tuple[Place, bool]] = {}

    # --- agents

    def registered(
        self,
        ns: str,
        agent: str,
        queues: tuple[str, ...],
        slots: int,
        shared_slots: int,
        now: float,
    ) -> None:
        """An agent's session is known, with everything free until it says otherwise."""
        self.gone(ns, agent)
        entry = _Agent(tuple((ns, q) for q in queues), slots, shared_slots)
        entry.heard = now
        self._agents[ns, agent] = entry
        for place in entry.places:
            self._by_place.setdefault(place, []).append(entry)

    def knows(self, ns: str, agent: str) -> bool:
        """True if the agent is known here."""
        return (ns, agent) in self._agents

    def silent(self, now: float) -> list[tuple[str, str]]:
        """(namespace, agent) of those that neither spoke nor were in the store just now."""
        return [key for key, agent in self._agents.items() if now - agent.heard > FRESH]

    def gone(self, ns: str, agent: str) -> None:
        """The agent's session is over."""
        entry = self._agents.pop((ns, agent), None)
        if entry is not None:
            for place in entry.places:
                self._by_place[place].remove(entry)

    def heard(
        self, ns: str, agent: str, free: int, shared_free: int, now: float
    ) -> tuple[Place, ...]:
        """What the agent says that it has free now; returns the queues that it serves."""
        entry = self._agents.get((ns, agent))
        if entry is None:
            return ()
        entry.free, entry.shared_free = free, shared_free
        entry.heard = entry.said = now
        return entry.places

    def stored(self, ns: str, agent: str, free: int, shared_free: int, now: float) -> None:
        """What the store thinks that it has free: taken if the agent itself was silent lately."""
        entry = self._agents.get((ns, agent))
        if entry is not None:
            entry.heard = now
            if now - entry.said > FRESH:
                entry.free, entry.shared_free = free, shared_free

    def places(self, now: float) -> list[Place]:
        """Queues with a live agent."""
        return [p for p, agents in self._by_place.items() if any(_live(a, now) for a in agents)]

    # --- what is on its way

    def reserve(self, place: Place, run: int, shared: int) -> None:
        """That many are about to be dispatched; negative to take it back."""
        counts = self._counts.setdefault(place, [0, 0])
        counts[0] = max(0, counts[0] + run)
        counts[1] = max(0, counts[1] + shared)

    def sent(self, place: Place, runs: Iterable[tuple[str, bool]]) -> None:
        """These (run, shared) are on their way."""
        counts = self._counts.setdefault(place, [0, 0])
        for run, shared in runs:
            if run not in self._sent:
                self._sent[run] = (place, shared)
                counts[shared] += 1

    def taken(self, runs: Iterable[str]) -> list[str]:
        """Claimed, or their claim was refused; returns those that another engine dispatched."""
        others: list[str] = []
        for run in runs:
            entry = self._sent.pop(run, None)
            if entry is None:
                others.append(run)
            else:
                place, shared = entry
                self._counts[place][shared] = max(0, self._counts[place][shared] - 1)
        return others

    def correct(self, place: Place, run: int, shared: int) -> None:
        """What the store counts as dispatched there: no more than that is on its way.

        The oldest that are too many were claimed somewhere else, unheard by us.
        """
        counts = self._counts.get(place)
        if counts is None:
            return
        over = [counts[0] - run, counts[1] - shared]
        if over[0] <= 0 and over[1] <= 0:
            return
        for sent, (where, kind) in list(self._sent.items()):
            if where == place and over[kind] > 0:
                over[kind] -= 1
                self.taken((sent,))

    def room(self, place: Place, now: float) -> Room:
        """How many more runs of this queue this engine may put into WORK.

        The agents' free slots, plus a quarter of their slots so that none waits for the next one,
        less what is on its way in any queue that shares these agents. No live agent, no room.
        """
        run = shared = 0
        touched: set[Place] = {place}
        for agent in self._by_place.get(place, ()):
            if _live(agent, now):
                if agent.slots:
                    run += agent.free + max(1, agent.slots // 4)
                if agent.shared_slots:
                    shared += agent.shared_free + max(1, agent.shared_slots // 4)
                touched.update(agent.places)
        if not run and not shared:
            return NO_ROOM
        if self.engines > 1:
            run, shared = -(-run // self.engines), -(-shared // self.engines)
        for other in touched:
            counts = self._counts.get(other)
            if counts is not None:
                run -= counts[0]
                shared -= counts[1]
        return Room(max(0, run), max(0, shared))


def _live(agent: _Agent, now: float) -> bool:
    return now - agent.heard <= STALE_AFTER
