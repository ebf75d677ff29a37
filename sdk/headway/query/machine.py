"""Is a regular expression found in a text? Decided without backtracking: each character once."""

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


class Machine:
    """All places where it may be at once; each character is looked at once for each."""

    def __init__(self, node: Node) -> None:
        self._steps: list[tuple[Ranges, int]] = []
        """By state: what it takes, and where that leads."""
        self._free: list[list[tuple[str, int]]] = []
        """By state: where it leads without a character, and on which edge."""
        self._end = self._new()
        self._begin = self._build(node, self._end)

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

    def _reached(self, states: set[int], *, first: bool, last: bool) -> set[int]:
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

    def search(self, text: str) -> bool:
        """True if the expression is found in the text, of which the beginning is looked at."""
        text = text[:LOOKS]
        states: set[int] = set()
        for at in range(len(text) + 1):
            states.add(self._begin)
            last = at == len(text)
            states = self._reached(states, first=at == 0, last=last)
            if self._end in states:
                return True
            if last:
                return False
            code = ord(text[at])
            states = {then for ranges, then in map(self._steps.__getitem__, states)
                      if any(low <= code <= high for low, high in ranges)}  # fmt: skip
        return False
