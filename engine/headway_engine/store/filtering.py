"""A query as SQL: conditions with parameters for all values, the same answer as `query.evaluate`.

What one database writes differently stands in a `Dialect`; everything else is the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from headway.ids import encode
from headway.query.evaluate import folded, moment
from headway.query.fields import states_of
from headway.query.tree import Amount, Duration, Number, Pattern, Prefix, Status
from headway.states import RunState
from headway_engine.store.listing import COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway.query.tree import Query, Term

ID_LENGTH = 26
AHEAD_MS = 2 * 3600 * 1000
"""An id is made at most one hour after its run is recorded (`checks.py`), by its maker's clock."""
FIRST_YEAR = 1971
"""Of an id's time."""
SCANNED = frozenset({"status", "since", "until", "id", "parent"})
"""Fields with an index: their conditions choose the rows that a request looks at."""


class Dialect(Protocol):
    """How one database writes it. Columns are those of `runs r`, `results s`, `checkpoints c`."""

    def column(self, field: str) -> str:
        """The text that a field looks at."""
        ...

    def searched(self) -> Sequence[str]:
        """What a bare word is looked for in, tags apart."""
        ...

    def parameter(self, number: int, value: Any) -> str:
        """The placeholder of this value."""
        ...

    def states(self, states: Sequence[str], put: Callable[[Any], str]) -> str:
        """The run is in one of these states; `put` makes a parameter."""
        ...

    def used(self, field: str) -> str:
        """What the run has used: `tokens`, or `cost` in millionths of a dollar; never NULL."""
        ...

    def among(self, column: str, values: str) -> str:
        """The column is one of a list, which is one parameter."""
        ...

    def tagged(self, condition: str) -> str:
        """Some tag, which `condition` calls `tag`, meets it."""
        ...

    def lower(self, text: str) -> str:
        """ASCII letters in lower case, others as they are."""
        ...

    def span_ms(self, now: str) -> str:
        """Whole milliseconds from the start to the end or now; NULL before the start."""
        ...


class Where(NamedTuple):
    """Conditions of a query."""

    scan: str
    """Over `runs r`, by index."""
    rest: str
    """Over `r`, `s` and `c`, row by row; empty = there is none."""
    args: list[Any]
    """Those that were given, those of `scan`, those of `rest`."""
    scanned: int
    """How many of them a statement without `rest` takes."""


def where(
    query: Query, now: datetime, dialect: Dialect, args: Sequence[Any], *, bounds: bool = True
) -> Where:
    """The conditions; `args` are the parameters that the statement has already.

    `bounds`: with conditions that change no answer and help a scan; an estimate would count them
    twice.
    """
    writer = _Writer(dialect, now, list(args), bounds=bounds)
    scan = [writer.term(t) for t in query.terms if t.field in SCANNED]
    scanned = len(writer.args)
    rest = [writer.term(t) for t in query.terms if t.field not in SCANNED]
    return Where(" AND ".join(scan), " AND ".join(rest), writer.args, scanned)


def like(pattern: Pattern) -> str:
    """A LIKE pattern with the usual escape."""
    return "%".join(
        p.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for p in pattern.parts
    )


class _Writer:
    def __init__(self, dialect: Dialect, now: datetime, args: list[Any], *, bounds: bool) -> None:
        self._dialect, self._now, self.args, self._bounds = dialect, now, args, bounds

    def _put(self, value: Any) -> str:
        self.args.append(value)
        return self._dialect.parameter(len(self.args), value)

    def term(self, term: Term) -> str:
        """One term as a condition that is never NULL."""
        if term.field == "status":
            return self._status(term)
        one_of = " OR ".join(self._conditions(term))
        return f"NOT coalesce({one_of}, false)" if term.negated else f"({one_of})"

    def _status(self, term: Term) -> str:
        """Not to be in some states is to be in the others: for those there are indexes."""
        asked = states_of(frozenset(v.word for v in term.values if isinstance(v, Status)))
        if term.negated:
            asked = frozenset(RunState) - asked
        return f"({self._dialect.states(sorted(s.value for s in asked), self._put)})"

    def _conditions(self, term: Term) -> list[str]:
        """One of them must hold."""
        match term.field:
            case "since":
                times = [self._put(moment(v, self._now)) for v in term.values]
                return [f"r.created_at >= {at}" for at in times]
            case "until":
                return [self._until(moment(v, self._now)) for v in term.values]
            case "attempts":
                counted = sorted(s.value for s in COUNTED)
                open_one = self._dialect.among("r.state", self._put(counted))
                number = f"(r.failures + CASE WHEN {open_one} THEN 1 ELSE 0 END)"
                return self._compared(term, number)
            case "cost" | "tokens" as field:
                return self._compared(term, self._dialect.used(field))
            case "priority":
                return self._compared(term, "r.priority")
            case "dur":
                return self._compared(term, self._dialect.span_ms(self._put(self._now)))
            case "tag":
                return [self._dialect.tagged(c) for c in self._texts(term, "tag")]
            case "":
                return self._anywhere(term)
            case "error":
                return self._inside(term, self._dialect.column("error"))
            case field:
                return self._texts(term, self._dialect.column(field))

    def _until(self, at: datetime) -> str:
        """With a bound for the id, so that a scan begins there; children's ids are older yet."""
        if not self._bounds or at.year < FIRST_YEAR:
            return f"r.created_at < {self._put(at)}"
        made = int(at.timestamp() * 1000) + AHEAD_MS
        before, bound = self._put(at), self._put(encode(made, 0))
        return f"(r.created_at < {before} AND r.id < {bound})"

    def _compared(self, term: Term, column: str) -> list[str]:
        found: list[str] = []
        for value in term.values:
            match value:
                case Number(op, number) | Duration(op, number) | Amount(op, number):
                    found.append(f"{column} {op} {self._put(number)}")
                case _:
                    raise TypeError(f"{term.field}: {value!r}")
        return found

    def _texts(self, term: Term, column: str) -> list[str]:
        """Whole texts: all literal ones together, each pattern and prefix alone."""
        whole: list[str] = []
        found: list[str] = []
        for value in term.values:
            match value:
                case Pattern((text,)):
                    whole.append(text)
                case Pattern():
                    found.append(f"{column} LIKE {self._put(like(value))}")
                case Prefix(text) if len(text) == ID_LENGTH:
                    whole.append(text)
                case Prefix(text):
                    low, high = self._put(text), self._put(f"{text}~")
                    found.append(f"({column} >= {low} AND {column} < {high})")
                case _:
                    raise TypeError(f"{term.field}: {value!r}")
        if whole:
            found.insert(0, self._dialect.among(column, self._put(whole)))
        return found

    def _inside(self, term: Term, *columns: str) -> list[str]:
        found: list[str] = []
        for value in term.values:
            if not isinstance(value, Pattern):
                raise TypeError(f"{term.field}: {value!r}")
            asked = self._put(folded(like(Pattern(("", *value.parts, "")))))
            found += [f"{self._dialect.lower(c)} LIKE {asked}" for c in columns]
        return found

    def _anywhere(self, term: Term) -> list[str]:
        found = self._inside(term, *self._dialect.searched())
        return found + [self._dialect.tagged(c) for c in self._inside(term, "tag")]
