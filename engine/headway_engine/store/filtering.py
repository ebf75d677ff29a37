"""A query as SQL: conditions with parameters for all values, the same answer as `query.evaluate`.

What one database writes differently stands in a `Dialect`; everything else is the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from headway.ids import encode
from headway.query.evaluate import folded, moment
from headway.query.fields import states_of
from headway.query.tree import Amount, Duration, Number, Pattern, Prefix, Regex, Status, Term
from headway.states import FAILURES, TERMINAL, RunState
from headway_engine.store.listing import COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway.query.tree import Query

ID_LENGTH = 26
APART_MS = 2 * 3600 * 1000
"""An id is made at most one hour before or after its run arrives (`checks.py`); with room."""
FIRST_YEAR = 1971
"""Of an id's time."""
SCANNED = frozenset({"status", "since", "until", "id", "parent", "origin", "job"})
"""Fields with an index: their conditions choose the rows that a request looks at."""
WITH_ERROR = TERMINAL - {RunState.SUCCEEDED}
"""States of runs that may have an error."""
_KINSHIP = frozenset({"parent", "origin"})
_OPPOSITE = {"since": "until", "until": "since"}


class Part(NamedTuple):
    """Some of the runs, and how an index gives them."""

    condition: str
    order: Literal["alone", "among", "none"]
    """`alone`: them alone, in the order of ids; `among`: in that order among others, of which there
    are not too many; `none`: in another order."""


DEAD = "r.failure <> '' AND NOT r.acked"
"""A dead letter; the condition of its indexes."""
DERIVED = "(r.parent <> '' OR r.origin <> '')"
"""A child or a fork, whose id says another time; the condition of an index."""


class Dialect(Protocol):
    """How one database writes it. Columns: those of `runs r`, and what `column` names."""

    def column(self, field: str) -> str:
        """The text that a field looks at."""
        ...

    def searched(self) -> Sequence[str]:
        """What a bare word is looked for in, tags apart."""
        ...

    def parameter(self, number: int, value: Any) -> str:
        """The placeholder of this value."""
        ...

    def states(self, states: frozenset[RunState], put: Callable[[Any], str]) -> list[Part]:
        """The run is in one of these states: alternatives of which no two hold for one run.

        `put` makes a parameter.
        """
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

    def pattern(self, pattern: Pattern) -> str:
        """A pattern as the value of a parameter."""
        ...

    def meets(self, text: str, asked: str, pattern: Pattern) -> str:
        """The whole text, letter by letter, meets the pattern, whose parameter is `asked`."""
        ...

    def of_jobs(self, condition: str, *, few: bool) -> str:
        """Made by a job of this namespace that meets it; `few`: its runs are looked up one by one.

        The column of a job's id is that of the field `job`.
        """
        ...

    def expression(self, source: str, *, fold: bool) -> str:
        """A regular expression as the value of a parameter; `fold`: for texts in lower case."""
        ...

    def fits(self, text: str, expression: str) -> str:
        """The expression is found in the first `machine.LOOKS` characters of the text."""
        ...

    def span_ms(self, now: str) -> str:
        """Whole milliseconds from the start to the end or now; NULL before the start."""
        ...


class Where(NamedTuple):
    """Conditions of a query."""

    parts: list[Part]
    """Over `runs r`, each by an index; no run meets two of them."""
    rest: str
    """Over `r` and what it joins, row by row; empty = there is none."""
    args: list[Any]
    """Those that were given, those of `parts`, those of `rest`."""
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
    terms = [_straight(t) for t in query.terms]
    left, dead = _states(terms), _dead_only(terms)
    states = [Part(DEAD, "alone")] if dead and left else dialect.states(left, writer.put)
    states = states or [Part("false", "none")]
    made = _since(terms, writer) if bounds else [Part("", "among")]
    named = any(t.field in _KINSHIP | {"job"} and not t.negated for t in terms)
    common = [writer.term(t) for t in terms if t.field in SCANNED - {"status"}]
    scanned = len(writer.args)
    rest = [writer.term(t) for t in terms if t.field not in SCANNED]
    rest += writer.flagged(terms, left if dead else frozenset())
    parts = [
        Part(
            " AND ".join(c for c in (s.condition, m.condition, *common) if c),
            "none" if s.order == "among" and (named or m.order == "none") else s.order,
        )
        for s in states
        for m in made
    ]
    return Where(parts, " AND ".join(rest), writer.args, scanned)


def _straight(term: Term) -> Term:
    """Not since then is until then: there are bounds for that."""
    if term.negated and term.field in _OPPOSITE:
        return Term(_OPPOSITE[term.field], term.values, column=term.column)
    return term


def _words(term: Term) -> frozenset[str]:
    return frozenset(v.word for v in term.values if isinstance(v, Status))


def _dead_only(terms: Sequence[Term]) -> bool:
    """Dead letters alone are asked for."""
    return any(
        t.field == "status" and not t.negated and _words(t) == frozenset({"dead"}) for t in terms
    )


def _states(terms: Sequence[Term]) -> frozenset[RunState]:
    """What all terms together leave; only some states come with an error."""
    left = frozenset(RunState)
    for term in terms:
        if term.field == "status":
            # Not to be a dead letter leaves every state: some failures are acknowledged.
            named = states_of(_words(term) - ({"dead"} if term.negated else set()))
            left = left - named if term.negated else left & named
        elif term.field == "error" and not term.negated:
            left &= WITH_ERROR
        elif term.field == "failure" and not term.negated and all(map(_says, term.values)):
            left &= FAILURES
    return left


def _says(value: object) -> bool:
    """A pattern that no empty text meets."""
    return isinstance(value, Pattern) and any(value.parts)


def _since(terms: Sequence[Term], writer: _Writer) -> list[Part]:
    """Where a scan by ids may stop: runs by the time of their id, or by when they were made.

    An id that is derived from a parent's or a plan's is older than its run by any time.
    """
    times = [moment(v, writer.now) for t in terms if t.field == "since" for v in t.values]
    if not times or max(times).year < FIRST_YEAR:
        return [Part("", "among")]
    first = int(max(times).timestamp() * 1000) - APART_MS
    bound = f"r.parent = '' AND r.origin = '' AND r.id >= {writer.put(encode(first, 0))}"
    # Their index begins with the state, so one is always named.
    every = writer.among("r.state", sorted(s.value for s in RunState))
    derived = f"{DERIVED} AND {every}"
    return [Part(bound, "among"), Part(derived, "none")]


class _Writer:
    def __init__(self, dialect: Dialect, now: datetime, args: list[Any], *, bounds: bool) -> None:
        self._dialect, self.now, self.args, self._bounds = dialect, now, args, bounds

    def put(self, value: Any) -> str:
        """A parameter with this value."""
        self.args.append(value)
        return self._dialect.parameter(len(self.args), value)

    def among(self, column: str, values: list[str]) -> str:
        """The column is one of these."""
        return self._dialect.among(column, self.put(values))

    def term(self, term: Term) -> str:
        """One term as a condition that is never NULL."""
        one_of = " OR ".join(self._conditions(term))
        return f"NOT coalesce({one_of}, false)" if term.negated else f"({one_of})"

    def flagged(self, terms: Sequence[Term], left: frozenset[RunState]) -> list[str]:
        """What the states do not say of dead letters; `left`: theirs, if others could be read."""
        found: list[str] = []
        for words, negated in ((_words(t), t.negated) for t in terms if t.field == "status"):
            if "dead" not in words:
                continue
            if negated:
                found.append(f"NOT ({DEAD})")  # no index has what is not in another one
            elif others := states_of(words - {"dead"}):
                one_of = self.among("r.state", sorted(s.value for s in others))
                found.append(f"({one_of} OR ({DEAD}))")
        if left and left != FAILURES:
            found.append(self.among("r.state", sorted(s.value for s in left)))
        return found

    def _conditions(self, term: Term) -> list[str]:
        """One of them must hold."""
        match term.field:
            case "since":
                times = [self.put(moment(v, self.now)) for v in term.values]
                return [f"r.created_at >= {at}" for at in times]
            case "until":
                return [self._until(moment(v, self.now)) for v in term.values]
            case "attempts":
                counted = sorted(s.value for s in COUNTED)
                open_one = self.among("r.state", counted)
                number = f"(r.failures + CASE WHEN {open_one} THEN 1 ELSE 0 END)"
                return self._compared(term, number)
            case "cost" | "tokens" as field:
                return self._compared(term, self._dialect.used(field))
            case "priority":
                return self._compared(term, "r.priority")
            case "dur":
                return self._compared(term, self._dialect.span_ms(self.put(self.now)))
            case "tag":
                return [self._dialect.tagged(c) for c in self._texts(term, "tag")]
            case "parent" | "origin" as field:
                # Said with it, so that the index is known to have them.
                column = self._dialect.column(field)
                return [f"({column} <> '' AND {c})" for c in self._texts(term, column)]
            case "job":
                column = self._dialect.column("job")
                conditions = " OR ".join(self._texts(term, column))
                return [self._dialect.of_jobs(conditions, few=not term.negated)]
            case "":
                return self._anywhere(term)
            case "error":
                return self._inside(term, self._dialect.column("error"))
            case field:
                return self._texts(term, self._dialect.column(field))

    def _until(self, at: datetime) -> str:
        """With a bound for the id, so that a scan begins there; children's ids are older yet."""
        if not self._bounds or at.year < FIRST_YEAR:
            return f"r.created_at < {self.put(at)}"
        made = int(at.timestamp() * 1000) + APART_MS
        before, bound = self.put(at), self.put(encode(made, 0))
        return f"(r.created_at < {before} AND r.id < {bound})"

    def _compared(self, term: Term, column: str) -> list[str]:
        found: list[str] = []
        for value in term.values:
            match value:
                case Number(op, number) | Duration(op, number) | Amount(op, number):
                    found.append(f"{column} {op} {self.put(number)}")
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
                    asked = self.put(self._dialect.pattern(value))
                    found.append(self._dialect.meets(column, asked, value))
                case Regex(source):
                    asked = self.put(self._dialect.expression(source, fold=False))
                    found.append(self._dialect.fits(column, asked))
                case Prefix(text) if len(text) == ID_LENGTH:
                    whole.append(text)
                case Prefix(text):
                    low, high = self.put(text), self.put(f"{text}~")
                    found.append(f"({column} >= {low} AND {column} < {high})")
                case _:
                    raise TypeError(f"{term.field}: {value!r}")
        if whole:
            found.insert(0, self.among(column, whole))
        return found

    def _inside(self, term: Term, *columns: str) -> list[str]:
        found: list[str] = []
        for value in term.values:
            if isinstance(value, Regex):
                asked = self.put(self._dialect.expression(value.source, fold=True))
                found += [self._dialect.fits(self._dialect.lower(c), asked) for c in columns]
                continue
            if not isinstance(value, Pattern):
                raise TypeError(f"{term.field}: {value!r}")
            inside = Pattern(("", *map(folded, value.parts), ""))
            asked = self.put(self._dialect.pattern(inside))
            found += [self._dialect.meets(self._dialect.lower(c), asked, inside) for c in columns]
        return found

    def _anywhere(self, term: Term) -> list[str]:
        found = self._inside(term, *self._dialect.searched())
        return found + [self._dialect.tagged(c) for c in self._inside(term, "tag")]
