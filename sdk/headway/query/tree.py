"""What a query says, as data: terms that must all hold, each with alternatives of which one must.

Positions are columns from 1; they do not count when trees are compared.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime, time

Compare = Literal["=", ">", "<", ">=", "<="]


@dataclass(frozen=True, slots=True)
class Status:
    """`failed`, `live` ..."""

    word: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """Literal texts with anything between two of them: `a*b` is ("a", "b"), `a` is ("a",)."""

    parts: tuple[str, ...]

    @property
    def literal(self) -> str | None:
        """The text, if it has no `*`."""
        return self.parts[0] if len(self.parts) == 1 else None


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression (`headway.query.regex`) that is found somewhere in the text."""

    source: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of an id, in upper case."""

    text: str


@dataclass(frozen=True, slots=True)
class Number:
    """Compared with a whole number."""

    op: Compare
    value: int


@dataclass(frozen=True, slots=True)
class Amount:
    """Compared with millionths of a dollar."""

    op: Compare
    micros: int


@dataclass(frozen=True, slots=True)
class Duration:
    """Compared with whole milliseconds."""

    op: Compare
    ms: int


@dataclass(frozen=True, slots=True)
class Ago:
    """So many milliseconds before the request."""

    ms: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The last time that clocks in UTC showed this."""

    at: time


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, with its zone."""

    at: datetime


Value = Status | Pattern | Regex | Prefix | Number | Amount | Duration | Ago | Clock | Moment


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: the field has one of the values; with `negated`, none of them."""

    field: str
    """Name in the table of fields; empty = a bare word."""
    values: tuple[Value, ...]
    negated: bool = False
    column: int = dataclasses.field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """All terms must hold; without any, every run is meant."""

    terms: tuple[Term, ...] = ()
