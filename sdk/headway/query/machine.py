"""Is a regular expression found in a text? Decided without backtracking: each character once.

Where a character leads from all places at once is remembered, so that a text costs a look-up per
character. What is remembered has a bound; beyond it all is forgotten.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from headway.query.regex import Chars, Edge, Either, Row, Times, folded, read

if TYPE_CHECKING:
    from headway.query.regex import Node, Ranges

LOOKS = 2000
"""Characters of a text that are looked at, from its beginning; every store does alike."""


@lru_cache(maxsize=256)
def compiled(source: str, *, fold: bool) -> Machine:
    """The machine of an expression that `read` accepts."""
    node = read(source)
    return Machine(folded(node) if fold else node)


KNOWN = 4000
"""Steps that a machine remembers: about 0.5 MB."""


class _Place(dict[str, "_Place"]):
    """All states in which it may be at once, and where each character leads from them."""

    def __init__(self, machine: Machine, states: set[int], *, first: bool) -> None:
        super().__init__()
        self._machine = machine
        self.states = machine.reached(states, first=first, last=False)
        at_end = machine.reached(states, first=first, last=True)
        self.found, self.found_at_end = machine.end in self.states, machine.end in at_end

    def __missing__(self, char: str) -> _Place:
        self[char] = place = self._machine.after(self.states, ord(char))
        return place


class Machine:
    """Steps from place to place, a character each."""

    def __init__(self, node: Node) -> None:
        self._steps: list[tuple[Ranges, int]] = []
        """By state: what it takes, and where that leads."""
        self._free: list[list[tuple[str, int]]] = []
        """By state: where it leads without a character, and on which edge."""
        self.end = self._new()
        """The state in which it is found."""
        self._begin = self._build(node, self.end)
        self._known = 0
        self._places: dict[frozenset[int], _Place] = {}
        self._first = _Place(self, {self._begin}, first=True)

    def _new(self) -> int:
        self._steps.append(((), 0))
        self._free.append([])
        return len(self._steps) - 1

    def _build(self, node: Node, then: int) -> int:
        """The state in which the node begins, if `then` follows it."""
        match node:
            case Chars(ranges):
                state = self._new()
                self._steps[state] = (ranges, then)
                return state
            case Edge(sign):
                state = self._new()
                self._free[state].append((sign, then))
                return state
            case Row(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case Either(parts):
                state = self._new()
                self._free[state] = [("", self._build(p, then)) for p in parts]
                return state
            case Times(part, least, most):
                if most is None:
                    state = self._new()
                    self._free[state] = [("", self._build(part, state)), ("", then)]
                else:
                    state = then
                    for _ in range(most - least):
                        again = self._new()
                        self._free[again] = [("", self._build(part, state)), ("", then)]
                        state = again
                for _ in range(least):
                    state = self._build(part, state)
                return state

    def reached(self, states: set[int], *, first: bool, last: bool) -> set[int]:
        """With all that they lead to without a character."""
        found, todo = set(states), list(states)
        while todo:
            for sign, then in self._free[todo.pop()]:
                if then not in found and not (sign == "^" and not first) and not (
                    sign == "$" and not last
                ):  # fmt: skip
                    found.add(then)
                    todo.append(then)
        return found

    def after(self, states: set[int], code: int) -> _Place:
        """Where a character leads."""
        self._known += 1
        if self._known > KNOWN:
            self._known, self._places = 0, {}
            self._first = _Place(self, {self._begin}, first=True)
        then = {then for ranges, then in map(self._steps.__getitem__, states)
                if any(low <= code <= high for low, high in ranges)}  # fmt: skip
        then.add(self._begin)
        key = frozenset(then)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(self, then, first=False)
        return place

    def search(self, text: str) -> bool:
        """True if the expression is found in the text, of which the beginning is looked at."""
        place = self._first
        for char in text[:LOOKS]:
            if place.found:
                return True
            place = place[char]
        return place.found or place.found_at_end
