"""Texts that have an expression in them, in any case: many of them, none of which may take long.

An expression is first made as short as finding it allows: how often its ends may repeat does not
matter. What then has few ways to be found is given to `re`; all else to the machine, once for those
texts that have its plain characters.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from headway.query.machine import LOOKS, Machine
from headway.query.regex import Chars, Edge, Either, Row, Times, any_case, postgres, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.query.regex import Node

WAYS = 64
"""At each place of a text: more ways than these are too many for `re`, which tries them all."""


def finder(source: str) -> Callable[[str], bool]:
    """Whether a text's first `LOOKS` characters have it; raises BadRegex."""
    node = slim(read(source))
    both = any_case(node)
    if ways(node) <= WAYS:
        return partial(_quickly, re.compile(postgres(both)))
    return partial(_surely, Machine(both), _plain(node))


def _quickly(expression: re.Pattern[str], text: str) -> bool:
    return expression.search(text, 0, LOOKS) is not None


def _surely(machine: Machine, plain: list[str], text: str) -> bool:
    if plain:
        low = text[:LOOKS].lower()
        if not all(part in low for part in plain):
            return False
    return machine.search(text)


def slim(node: Node) -> Node:
    """A shorter one that is found in the same texts."""
    match node:
        case Either(parts):
            return Either(tuple(map(slim, parts)))
        case Times(part, least, _) if not _has_edge(part):
            return slim(_of([part] * least)) if least else Row(())
        case Row(parts):
            rest = list(parts)
            while rest and (less := _ended(rest[0])) is not None:
                rest[:1] = less
            while rest and (less := _ended(rest[-1])) is not None:
                rest[-1:] = less
            return _of(rest)
        case _:
            return node


def _ended(node: Node) -> list[Node] | None:
    """What remains of it at an end; None = all."""
    if isinstance(node, Row):
        return list(node.parts)
    if isinstance(node, Times) and node.most != node.least and not _has_edge(node.part):
        return [node.part] * node.least
    return None


def _of(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Row(tuple(parts))


def _has_edge(node: Node) -> bool:
    match node:
        case Chars():
            return False
        case Edge():
            return True
        case Row(parts) | Either(parts):
            return any(map(_has_edge, parts))
        case Times(part):
            return _has_edge(part)


def ways(node: Node) -> float:
    """In how many ways it may be tried from one place of a text; without end for open repeats."""
    match node:
        case Chars() | Edge():
            return 1
        case Row(parts):
            product = 1.0
            for part in parts:
                product *= ways(part)
            return product
        case Either(parts):
            return sum(map(ways, parts))
        case Times(part, least, most):
            if most is None:
                return float("inf")
            one = ways(part)
            return sum(one**n for n in range(least, most + 1)) if one <= WAYS else one


def _plain(node: Node) -> list[str]:
    """Texts in lower case that every hit has, as far as its outermost row shows them."""
    found, run = [""], ""
    for part in node.parts if isinstance(node, Row) else (node,):
        char = _only(part)
        run = run + char if char else ""
        if not char:
            found.append("")
        found[-1] = run or found[-1]
    return [text for text in dict.fromkeys(found) if text]


def _only(node: Node) -> str:
    """The one ASCII character that it is, in lower case; else empty."""
    if not isinstance(node, Chars) or len(node.ranges) != 1:
        return ""
    low, high = node.ranges[0]
    return chr(low).lower() if low == high < 128 else ""
