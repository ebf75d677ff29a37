"""The query language of lists, saved views, bulk actions and replay scripts: pure, no I/O.

`status:failed,retrying task:research-* error:"429" since:2h !tag:canary word`: a space is *and*, a
comma *or*, `!` *not*. `parse` gives a typed tree with positions, `write` its canonical text
(`parse(write(tree)) == tree`), `matches` asks it of one row. The engine makes SQL of the same tree.
Any text either parses or raises BadQuery. `fields.FIELDS` is the one table of what can be asked.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from headway.errors import BadQuery
from headway.query.fields import BY_NAME, FIELDS, NAMES, Kind
from headway.query.tokens import words
from headway.query.tree import Query, Regex, Term
from headway.query.values import value_of, written

if TYPE_CHECKING:
    from headway.query.tokens import Word

__all__ = ["FIELDS", "BadQuery", "Query", "Term", "both", "completions", "parse", "write"]


def parse(text: str) -> Query:
    """The tree of a query; an empty one means every run. Raises BadQuery, and nothing else."""
    query = Query(tuple(_term(word) for word in words(text)))
    windowed = any(t.field == "since" and not t.negated for t in query.terms)
    for term in () if windowed else query.terms:
        if any(isinstance(v, Regex) for v in term.values):
            raise BadQuery(
                term.column,
                "a regular expression is looked for run by run",
                "a window of time beside it, such as since:2h",
                "since:2h",
            )
    return query


def _term(word: Word) -> Term:
    field = BY_NAME.get(word.field)
    if field is None:
        near = get_close_matches(word.field, NAMES, 1)
        raise BadQuery(
            word.column + word.negated,
            f"no field {word.field[:40]!r}",
            f"{', '.join(NAMES)}; text with a colon goes in quotes",
            f"{near[0]}:" if near else "",
        )
    if field.kind is Kind.TIME and len(word.pieces) > 1:
        raise BadQuery(word.pieces[1].column, f"{field.name}: several times", "one")
    values = tuple(value_of(field, piece) for piece in word.pieces)
    return Term(field.name, values, word.negated, word.column)


def write(query: Query) -> str:
    """Canonical text."""
    return " ".join(
        f"{'!' if t.negated else ''}{t.field}{':' if t.field else ''}"
        + ",".join(written(v) for v in t.values)
        for t in query.terms
    )


def both(*queries: Query) -> Query:
    """What all of them ask for."""
    return Query(tuple(term for query in queries for term in query.terms))


def completions(text: str) -> list[str]:
    """How the last word may go on: names of fields, and states after `status:`; whole words."""
    head, _, last = text.rpartition(" ")
    lead = f"{head} " if head else ""
    bang = "!" if last.startswith("!") else ""
    field, colon, rest = last.removeprefix("!").partition(":")
    if not colon:
        return [f"{lead}{bang}{name}:" for name in NAMES if name.startswith(field.lower())]
    known = BY_NAME.get(field.lower())
    if known is None or known.kind is not Kind.STATUS:
        return []
    from headway.query.fields import STATUS_WORDS

    before, comma, begun = rest.rpartition(",")
    stem = f"{lead}{bang}{known.name}:{before}{comma}"
    return [f"{stem}{word}" for word in STATUS_WORDS if word.startswith(begun.lower())]
