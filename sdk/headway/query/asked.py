"""The one place where the separate filters of a request become a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.query import both, parse
from headway.query.tree import Moment, Pattern, Prefix, Query, Status, Term

if TYPE_CHECKING:
    from headway.query.tree import Value
    from headway.wire.runs import RunsQuery


def glob_of(text: str) -> Pattern:
    """A text in which `*` stands for anything."""
    first, *rest = text.split("*")
    if not rest:
        return Pattern((first,))
    return Pattern((first, *(part for part in rest[:-1] if part), rest[-1]))


def query_of(asked: RunsQuery) -> Query:
    """What a request asks for: its filters and its text together. Raises BadQuery."""
    terms: list[Term] = []

    def add(field: str, *values: Value) -> None:
        if values:
            terms.append(Term(field, values))

    add("status", *(Status(word) for word in asked.status))
    if asked.task:
        add("task", glob_of(asked.task))
    if asked.queue:
        add("queue", Pattern((asked.queue,)))
    for tag in asked.tags:
        add("tag", Pattern((tag,)))
    add("id", *(Prefix(run) for run in asked.ids))
    if asked.since is not None:
        add("since", Moment(asked.since))
    if asked.until is not None:
        add("until", Moment(asked.until))
    if asked.text:
        add("", glob_of(asked.text))
    return both(Query(tuple(terms)), parse(asked.query))
