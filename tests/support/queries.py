"""Random queries, as trees, that hit rows made of the same few words."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from headway.query.fields import FIELDS, STATUS_WORDS, Field, Kind
from headway.query.tree import (
    Ago,
    Amount,
    Clock,
    Duration,
    Moment,
    Number,
    Pattern,
    Prefix,
    Query,
    Regex,
    Status,
    Term,
)

if TYPE_CHECKING:
    from headway.query.tree import Value

WORDS = ("research-agent", "acme", "R42", "a%b_c", "\\", 'say "no"', "Ünï ÇÖDÉ", "x,y: z", "*", "É")
"""What rows are made of as well."""
SECOND = timedelta(seconds=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
_OPS = st.sampled_from(["=", ">", "<", ">=", "<="])
_TEXT = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS).flatmap(lambda w: st.integers(1, 3).map(lambda n: w[:n])),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=4),
)
_IDS = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=1, max_size=26)


_ATOMS = st.sampled_from(
    ["a", "R", "4", "x", "e", "É", "Ü", '"', " ", "/", ".", r"\d", r"\w", r"\S", r"\\", r"\.",
     r"\n", "[a-m]", "[^a%]", "[É-ü_]", "[R4]", "[^A-Z]", "^", "$"]
)  # fmt: skip
_REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,}"])


def _rows(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def joined(part: str, repeat: str) -> str:
        return part if part in "^$" else part + repeat

    one = st.builds(joined, parts, _REPEATS)
    return st.lists(one, min_size=1, max_size=3).map("".join)


def expressions() -> st.SearchStrategy[str]:
    """Regular expressions that the language has."""
    group = st.recursive(
        _ATOMS, lambda inner: st.lists(_rows(inner), min_size=1, max_size=2).map(
            lambda rows: f"({'|'.join(rows)})"
        ), max_leaves=6,
    )  # fmt: skip
    return _rows(group)


@st.composite
def patterns(draw: st.DrawFn, *, empty: bool) -> Pattern:
    """As the parser makes them: nothing empty between two stars."""
    if not draw(st.booleans()):
        return Pattern((draw(st.one_of(_TEXT, st.just("")) if empty else _TEXT),))
    middle = draw(st.lists(_TEXT, min_size=0 if empty else 1, max_size=2))
    ends = st.one_of(st.just(""), _TEXT)
    return Pattern((draw(ends), *middle, draw(ends)))


def values(field: Field, ids: st.SearchStrategy[str] = _IDS) -> st.SearchStrategy[Value]:
    """Values of one field."""
    match field.kind:
        case Kind.STATUS:
            return st.sampled_from(sorted(STATUS_WORDS)).map(Status)
        case Kind.WORD | Kind.TEXT:
            return st.one_of(patterns(empty=field.kind is Kind.WORD), expressions().map(Regex))
        case Kind.ID:
            return ids.map(Prefix)
        case Kind.NUMBER:
            return st.builds(Number, _OPS, st.integers(-3, 12))
        case Kind.AMOUNT:
            return st.builds(Amount, _OPS, st.sampled_from([0, 1, 250_000, 500_000, 1_234_567]))
        case Kind.DURATION:
            return st.builds(Duration, _OPS, st.integers(0, 10**6))
        case Kind.TIME:
            return st.one_of(
                st.integers(0, 8 * 10**6).map(Ago),
                st.builds(Clock, st.times().map(lambda t: time(t.hour, t.minute, t.second))),
                st.integers(-7200, 3600).map(lambda s: Moment(START + s * SECOND)),
            )


@st.composite
def terms(draw: st.DrawFn, ids: st.SearchStrategy[str] = _IDS) -> Term:
    """One term of any field."""
    field = draw(st.sampled_from(FIELDS))
    most = 1 if field.kind is Kind.TIME else 3
    found = draw(st.lists(values(field, ids), min_size=1, max_size=most))
    return Term(field.name, tuple(found), draw(st.booleans()))


def queries(ids: st.SearchStrategy[str] = _IDS) -> st.SearchStrategy[Query]:
    """Queries of up to four terms."""
    return st.lists(terms(ids), max_size=4).map(lambda t: Query((*t, *_window(t))))


def _window(found: list[Term]) -> list[Term]:
    """Of time: a regular expression needs one."""
    looked = any(isinstance(v, Regex) for t in found for v in t.values)
    has = any(t.field == "since" and not t.negated for t in found)
    return [Term("since", (Ago(10**9),))] if looked and not has else []
