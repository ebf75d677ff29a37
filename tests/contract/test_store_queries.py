"""The same query means the same runs in memory and in SQL; pages join without hole or double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headway.query import BadQuery, parse, write
from headway.query.evaluate import matches
from headway.query.machine import compiled
from headway.query.regex import postgres, read
from headway.wire.runs import Facet, FacetsAsk, RunsQuery
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.store.listing import facets_of
from support.anyruns import COUNT, put_any_runs
from support.factories import NS, an_enqueue
from support.queries import WORDS, expressions, queries

if TYPE_CHECKING:
    from headway.query import Query
    from headway.wire.runs import RunRow
    from support.stores import EdgeKit, Kit, PostgresKit

FIELDS = ("status", "task", "queue", "tag", "error", "agent", "image")


@pytest.fixture(params=["postgres", "edge"])
def sql_kit(request: pytest.FixtureRequest) -> PostgresKit | EdgeKit:
    """Each store that answers by SQL."""
    return request.getfixturevalue(f"{request.param}_kit")


def scan_at_most(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A request looks at so many runs."""
    for module in ("postgres.pages", "edge.scanning"):
        monkeypatch.setattr(f"headway_engine.store.{module}.SCAN", rows)


async def everything(kit: Kit, query: RunsQuery) -> list[RunRow]:
    """All pages of a query."""
    found: list[RunRow] = []
    while True:
        page = await kit.store.runs(NS, query)
        found += page.runs
        assert len(page.runs) <= query.n
        if not page.more:
            assert page.next == ""
            return found
        assert page.next
        query.after = page.next


async def price(kit: Kit, rows: list[RunRow]) -> None:
    """Write into the rows what their runs have used, as the api does."""
    spent = await kit.store.spent(NS, [r.run for r in rows])
    for row in rows:
        row.tokens_in, row.tokens_out, row.cost_usd = spent.get(row.run, (0, 0, 0.0))


async def test_memory_and_sql_answer_every_query_alike(
    sql_kit: PostgresKit | EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await put_any_runs(sql_kit)
    rows = await everything(sql_kit, RunsQuery(n=1000))
    assert len(rows) == COUNT - COUNT // 10
    await price(sql_kit, rows)
    now, loop = sql_kit.now(), asyncio.get_running_loop()
    some = st.sampled_from(ids).flatmap(lambda i: st.integers(1, 26).map(lambda n: i[:n]))

    async def compare(query: Query, n: int, scan: int, *, oldest: bool) -> None:
        scan_at_most(monkeypatch, scan)
        asked = RunsQuery(
            query=write(query), n=n, total=True, sort="oldest" if oldest else "newest"
        )
        expected = [r.run for r in rows if matches(query, r, now)]
        first = await sql_kit.store.runs(NS, asked)
        assert first.total is not None
        assert first.estimated or first.total == len(expected)
        found = [r.run for r in await everything(sql_kit, asked)]
        assert found == (expected[::-1] if oldest else expected)

    @settings(
        max_examples=50, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(queries(some), st.sampled_from([7, 1000]), st.sampled_from([20, 5000]), st.booleans())
    def every(query: Query, n: int, scan: int, oldest: bool) -> None:
        work = compare(query, n, scan, oldest=oldest)
        asyncio.run_coroutine_threadsafe(work, loop).result()

    await asyncio.to_thread(every)


async def test_postgres_finds_what_the_machine_finds(postgres_kit: PostgresKit) -> None:
    loop = asyncio.get_running_loop()
    texts = st.one_of(st.sampled_from(WORDS), st.text('aAR4xeÉÜü /.\\\n"%_', max_size=8))

    async def compare(pairs: list[tuple[str, str]]) -> None:
        found = await postgres_kit.fetch(
            'SELECT left(t, 2000) COLLATE "C" ~ p AS hit'
            " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS x (t, p, n) ORDER BY n",
            [text for text, _ in pairs], [postgres(read(source)) for _, source in pairs],
        )  # fmt: skip
        expected = [compiled(source, fold=False).search(text) for text, source in pairs]
        assert [row["hit"] for row in found] == expected

    @settings(max_examples=15, deadline=None, database=None)
    @given(st.lists(st.tuples(texts, expressions()), min_size=30, max_size=60))
    @example([("a" * 1999 + "!", source) for source in ("(a+)+$", "^(a|a)*$", "(.*a){20}$")])
    def every(pairs: list[tuple[str, str]]) -> None:
        asyncio.run_coroutine_threadsafe(compare(pairs), loop).result()

    await asyncio.to_thread(every)


async def test_a_query_is_asked_on_every_store(kit: Kit) -> None:
    runs = [an_enqueue(tags=(f"n={i}", "even" if i % 2 == 0 else "odd")) for i in range(6)]
    await kit.enqueued(*runs)
    newest = sorted((r.run.id for r in runs), reverse=True)

    async def asked(text: str, **more: Any) -> list[str]:
        return [r.run for r in await everything(kit, RunsQuery(query=text, n=2, **more))]

    assert await asked("") == newest
    assert await asked("", sort="oldest") == newest[::-1]
    assert len(await asked("status:queued !tag:odd since:1h")) == 3
    assert await asked("until:1h") == []
    page = await kit.store.runs(NS, RunsQuery(query="tag:odd", n=1, total=True))
    assert (page.total, page.estimated, page.more) == (3, False, True)
    with pytest.raises(BadQuery, match="column 3"):
        await kit.store.runs(NS, RunsQuery(query="a nope:1"))


async def test_runs_are_found_by_what_they_have_used(kit: Kit) -> None:
    dear = await kit.attempt(await kit.ready())
    cheap, *_ = await kit.enqueued(an_enqueue())
    await kit.store.save([SaveUsage(dear.id, 1, [ModelUsage("a", 90, 11, 0.3)])])
    await kit.store.save([SaveUsage(dear.id, 1, [ModelUsage("b", 0, 0, 0.21)])])
    for text, found in (
        ("cost:>0.5", [dear.id]), ("cost:0.51", [dear.id]), ("cost:>$0.51", []),
        ("tokens:>100", [dear.id]), ("tokens:101", [dear.id]), ("cost:0 tokens:0", [cheap.id]),
        ("!cost:>0.5", [cheap.id]),
    ):  # fmt: skip
        page = await kit.store.runs(NS, RunsQuery(query=text))
        assert [r.run for r in page.runs] == found, text


async def test_many_runs_are_estimated_not_counted(
    postgres_kit: PostgresKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_any_runs(postgres_kit)
    await postgres_kit.execute("ANALYZE")
    scan_at_most(monkeypatch, 50)
    page = await postgres_kit.store.runs(NS, RunsQuery(n=1, total=True))
    assert page.estimated
    assert page.total is not None
    assert 100 <= page.total <= 200
    page = await postgres_kit.store.runs(NS, RunsQuery(n=1, total=True, query="attempts:>=2"))
    assert page.estimated
    assert page.total is not None
    assert 10 <= page.total < 130


@pytest.mark.parametrize(
    "text", ["", "status:!", "x" * 5000, "status:live " * 64, "a," * 255 + "a"]
)
async def test_large_queries_are_answered_or_refused(kit: Kit, text: str) -> None:
    try:
        parse(text)
    except BadQuery:
        with pytest.raises(BadQuery):
            await kit.store.runs(NS, RunsQuery(query=text))
    else:
        assert (await kit.store.runs(NS, RunsQuery(query=text))).runs == []


async def test_memory_and_sql_count_alike(sql_kit: PostgresKit | EdgeKit) -> None:
    ids = await put_any_runs(sql_kit)
    rows = await everything(sql_kit, RunsQuery(n=1000))
    await price(sql_kit, rows)
    now, loop = sql_kit.now(), asyncio.get_running_loop()
    some = st.sampled_from(ids).flatmap(lambda i: st.integers(1, 26).map(lambda n: i[:n]))

    async def compare(query: Query, by: Any, n: int) -> None:
        ask = FacetsAsk(write(query), by, n)
        expected = facets_of((r for r in rows if matches(query, r, now)), ask, now)
        found = await sql_kit.store.facets(NS, ask)
        assert (found.matched, found.partly) == (expected.matched, False)
        assert found.values == expected.values

    @settings(
        max_examples=30, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(
        queries(some), st.lists(st.sampled_from(FIELDS), min_size=1, unique=True).map(tuple),
        st.integers(1, 20),
    )  # fmt: skip
    def every(query: Query, by: Any, n: int) -> None:
        asyncio.run_coroutine_threadsafe(compare(query, by, n), loop).result()

    await asyncio.to_thread(every)


async def test_every_store_counts_what_a_query_means(kit: Kit) -> None:
    runs = [an_enqueue(tags=("a", "b") if i else ("a",)) for i in range(3)]
    await kit.enqueued(*runs)
    found = await kit.store.facets(NS, FacetsAsk("tag:a", ("status", "tag", "error")))
    assert found.matched == 3
    assert not found.partly
    assert found.values == {
        "status": [Facet("queued", 3)], "tag": [Facet("a", 3), Facet("b", 2)], "error": [],
    }  # fmt: skip
    with pytest.raises(BadQuery, match="column 1"):
        await kit.store.facets(NS, FacetsAsk("nope:1"))


async def test_of_many_runs_the_newest_are_counted_and_that_is_said(
    sql_kit: PostgresKit | EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_any_runs(sql_kit)
    scan_at_most(monkeypatch, 20)
    found = await sql_kit.store.facets(NS, FacetsAsk(by=("status",), n=20))
    assert found.partly
    assert found.matched == 21
    assert sum(f.runs for f in found.values["status"]) == 21
