r"""Regular expressions that every store answers alike, in time that grows with the text alone.

The language is what all know: `. [a-z] [^x] \d \w \s \D \W \S ( | ) * + ? {2,5} ^ $`, and a
backslash before a sign that means itself. There are no groups to refer back to and no looking
around: so a machine without backtracking decides, here and in Postgres, and no expression can take
long. `^` and `$` are the ends of the whole text, `.` is any character, \d \w \s are those of ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass

LENGTH = 200
"""Characters of an expression."""
STATES = 400
"""States of its machine, with all repeats written out."""
REPEATS = 100
_LAST = 0x10FFFF
_NAMED = {
    "d": ((48, 57),), "w": ((48, 57), (65, 90), (95, 95), (97, 122)), "s": ((9, 13), (32, 32)),
}  # fmt: skip
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_SIGNS = frozenset(r".[](){}*+?|^$\/-")
Ranges = tuple[tuple[int, int], ...]


class BadRegex(ValueError):
    """Why it cannot be read; `at` is the place, from 0."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at, self.what = at, what


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Edge:
    """The beginning (`^`) or end (`$`) of the text."""

    sign: str


@dataclass(frozen=True, slots=True)
class Row:
    """One after the other; none = the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """Again and again; `most` None = without end."""

    part: Node
    least: int
    most: int | None


Node = Chars | Edge | Row | Either | Times


def read(source: str) -> Node:
    """The expression; raises BadRegex."""
    if len(source) > LENGTH:
        raise BadRegex(LENGTH, f"more than {LENGTH} characters")
    node = _Reader(source).whole()
    if (count := _states(node)) > STATES:
        raise BadRegex(0, f"its repeats make {count:,} states, at most {STATES}")
    return node


class _Reader:
    def __init__(self, source: str) -> None:
        self._source, self._at = source, 0

    def whole(self) -> Node:
        node = self._either(0)
        if self._at < len(self._source):
            raise BadRegex(self._at, "a ) that nothing opened")
        return node

    def _next(self) -> str:
        return self._source[self._at : self._at + 1]

    def _either(self, depth: int) -> Node:
        parts = [self._row(depth)]
        while self._next() == "|":
            self._at += 1
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _row(self, depth: int) -> Node:
        parts: list[Node] = []
        while (c := self._next()) and c not in "|)":
            begun = self._at
            node = self._atom(depth)
            node = self._repeated(node, begun)
            parts.append(node)
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _atom(self, depth: int) -> Node:
        at, c = self._at, self._next()
        self._at += 1
        match c:
            case "(":
                if self._next() == "?":
                    raise BadRegex(at, "(? has no meaning here")
                if depth == 20:
                    raise BadRegex(at, "more than 20 groups in each other")
                node = self._either(depth + 1)
                if self._next() != ")":
                    raise BadRegex(at, "the ( is not closed")
                self._at += 1
                return node
            case "[":
                return self._set(at)
            case ".":
                return Chars(((1, _LAST),))
            case "^" | "$":
                return Edge(c)
            case "\\":
                return Chars(self._escaped(at))
            case "*" | "+" | "?" | "{":
                raise BadRegex(at, f"nothing before the {c}")
            case _:
                return Chars(((ord(c), ord(c)),))

    def _escaped(self, at: int) -> Ranges:
        c = self._next()
        self._at += 1
        if c.lower() in _NAMED and c:
            ranges = _NAMED[c.lower()]
            return ranges if c.islower() else _others(ranges)
        if c in _CONTROLS:
            c = _CONTROLS[c]
        elif c not in _SIGNS or not c:
            raise BadRegex(at, f"\\{c} has no meaning" if c else "nothing after the \\")
        return ((ord(c), ord(c)),)

    def _set(self, begun: int) -> Chars:
        negated = self._next() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while self._next() != "]" or first:
            first = False
            low = self._one(begun)
            ahead = self._source[self._at : self._at + 2]
            if ahead[:1] == "-" and ahead[1:] not in ("", "]") and len(low) == 1:
                at = self._at
                self._at += 1
                high = self._one(begun)
                if len(high) != 1 or high[0][1] < low[0][0] or low[0][0] != low[0][1]:
                    raise BadRegex(at, "a range from a higher to a lower character")
                low = ((low[0][0], high[0][1]),)
            ranges += low
        self._at += 1
        found = _joined(ranges)
        return Chars(_others(found) if negated else found)

    def _one(self, begun: int) -> Ranges:
        at, c = self._at, self._next()
        if not c:
            raise BadRegex(begun, "the [ is not closed")
        self._at += 1
        return self._escaped(at) if c == "\\" else ((ord(c), ord(c)),)

    def _repeated(self, node: Node, begun: int) -> Node:
        at, c = self._at, self._next()
        if not c or c not in "*+?{":
            return node
        if isinstance(node, Edge) and self._source[begun] != "(":
            raise BadRegex(at, f"nothing that could be repeated before the {c}")
        self._at += 1
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(c) or self._counts(at)
        if (again := self._next()) and again in "*+?{":
            raise BadRegex(self._at, f"a {again} after {self._source[begun : self._at][-10:]}")
        if most != 1 and _may_be_empty(node):
            # It would find nothing else, and Postgres takes minutes over several in each other.
            raise BadRegex(at, "what is repeated may be the empty text: leave one repeat away")
        return Times(node, least, most)

    def _counts(self, at: int) -> tuple[int, int | None]:
        inside, closed, _ = self._source[self._at :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _number(low) or (high and not _number(high)):
            raise BadRegex(at, "write {2}, {2,} or {2,5}")
        self._at += len(inside) + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if least > REPEATS or (most or 0) > REPEATS or (most is not None and most < least):
            raise BadRegex(at, f"repeats go up to {REPEATS}, the lower number first")
        return least, most


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    """In order, none touching another."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def _others(ranges: Ranges) -> Ranges:
    """Every character that is in none of them."""
    out: list[tuple[int, int]] = []
    begin = 1
    for low, high in _joined(list(ranges)):
        if low > begin:
            out.append((begin, low - 1))
        begin = high + 1
    return tuple([*out, (begin, _LAST)] if begin <= _LAST else out)


def _may_be_empty(node: Node) -> bool:
    match node:
        case Chars():
            return False
        case Edge():
            return True
        case Row(parts):
            return all(map(_may_be_empty, parts))
        case Either(parts):
            return any(map(_may_be_empty, parts))
        case Times(part, least, _):
            return least == 0 or _may_be_empty(part)


def _states(node: Node) -> int:
    match node:
        case Chars() | Edge():
            return 1
        case Row(parts) | Either(parts):
            return sum(map(_states, parts)) + len(parts)
        case Times(part, least, most):
            return (_states(part) + 1) * max(1, least + 1 if most is None else most)


def folded(node: Node) -> Node:
    """For texts whose ASCII letters are in lower case: either case of a letter is meant."""
    return _cased(node, ((65, 90, 32),))


def any_case(node: Node) -> Node:
    """For texts as they are: either case of an ASCII letter is meant."""
    return _cased(node, ((65, 90, 32), (97, 122, -32)))


def _cased(node: Node, also: tuple[tuple[int, int, int], ...]) -> Node:
    """What takes a character from the first to the second also takes the one so far away."""
    match node:
        case Chars(ranges):
            both = list(ranges)
            for low, high in ranges:
                for first, last, away in also:
                    begin, end = max(low, first), min(high, last)
                    both += [(begin + away, end + away)] if begin <= end else []
            return Chars(_joined(both))
        case Row(parts):
            return Row(tuple(_cased(part, also) for part in parts))
        case Either(parts):
            return Either(tuple(_cased(part, also) for part in parts))
        case Times(part, least, most):
            return Times(_cased(part, also), least, most)
        case Edge():
            return node


def postgres(node: Node) -> str:
    """As Postgres and Python read it; each character by its number, so that none is quoted."""
    match node:
        case Chars(ranges):
            return "[" + "".join(f"{_code(a)}-{_code(b)}" for a, b in ranges) + "]"
        case Edge(sign):
            return r"\A" if sign == "^" else r"\Z"
        case Row(parts):
            return "".join(f"(?:{postgres(p)})" for p in parts) or "(?:)"
        case Either(parts):
            return "|".join(f"(?:{postgres(p)})" for p in parts)
        case Times(part, least, most):
            return f"(?:{postgres(part)}){{{least},{'' if most is None else most}}}"


def _code(code: int) -> str:
    return f"\\U{code:08X}"
