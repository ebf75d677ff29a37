"""Pages of two stores as one, and which of them a query can mean; pure."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway.query.asked import query_of
from headway.query.evaluate import matches
from headway.query.tree import Query
from headway.wire.runs import Facet, Facets, RunRow, RunsPage, RunsQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ANY = datetime(2000, 1, 1, tzinfo=UTC)
"""A time that no term on sites looks at."""


def meant(query: RunsQuery, sites: Iterable[str]) -> tuple[bool, bool]:
    """(runs of the hub itself may be meant, runs of its sites may be). Raises BadQuery."""
    terms = [t for t in query_of(query).terms if t.field == "site"]
    asked = Query(tuple(terms))
    return _holds(asked, ""), any(_holds(asked, site) for site in sites)


def names_sites(query: str, sites: Iterable[str]) -> bool:
    """It has a term on sites, and may mean runs of one. Raises BadQuery."""
    asked = RunsQuery(query=query)
    named = any(term.field == "site" for term in query_of(asked).terms)
    return named and meant(asked, sites)[1]


def counted(pages: Sequence[Facets], n: int) -> Facets:
    """The values of both, added up; of each field the `n` most frequent.

    Each page has its own most frequent ones: of a value that is rare in one of them its count may
    be missing here, as in any list of the first ones.
    """
    sums: dict[str, Counter[str]] = {}
    for page in pages:
        for field, values in page.values.items():
            sums.setdefault(field, Counter()).update({f.value: f.runs for f in values})
    return Facets(
        pages[0].as_of,
        sum(page.matched for page in pages),
        any(page.partly for page in pages),
        {
            field: [
                Facet(value, runs)
                for value, runs in sorted(c.items(), key=lambda one: (-one[1], one[0]))[:n]
            ]
            for field, c in sums.items()
        },
    )


def _holds(asked: Query, site: str) -> bool:
    return matches(asked, RunRow("", "", "", "", _ANY, site=site), _ANY)


def merged(pages: list[RunsPage], query: RunsQuery) -> RunsPage:
    """The first `n` runs of both, in order, and where the next page goes on.

    A page with more to come says nothing about ids beyond its end: no row after the nearest such
    end is taken, since the other page might lack its neighbours.
    """
    newest = query.sort == "newest"
    ends = [p.next for p in pages if p.more]
    edge = (max(ends) if newest else min(ends)) if ends else ""
    rows = [row for page in pages for row in page.runs]
    if edge:
        rows = [r for r in rows if (r.run >= edge if newest else r.run <= edge)]
    rows.sort(key=lambda r: r.run, reverse=newest)
    more, following = bool(ends), edge
    if len(rows) > query.n:
        rows = rows[: query.n]
        more, following = True, rows[-1].run
    counts: dict[str, int] = {}
    for page in pages:
        for status, count in page.counts.items():
            counts[status] = counts.get(status, 0) + count
    totals = [page.total for page in pages if page.total is not None]
    return RunsPage(
        rows,
        pages[0].as_of,
        more,
        counts,
        following,
        sum(totals) if totals else None,
        any(page.estimated for page in pages),
    )
