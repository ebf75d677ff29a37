"""The schema guards itself: migrations, triggers, checks, the shape of the SQL (A3, A6, G3)."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from importlib import resources
from itertools import product
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from headway.errors import Refused
from headway.states import RunState
from headway.wire.runs import KIN
from headway_engine.happenings import Started
from headway_engine.store.postgres import PostgresStore, statements
from headway_engine.store.postgres.commit import in_one_write
from headway_engine.store.postgres.migrate import SchemaTooNew, migrate, migrations, numbers
from support.factories import NS, a_checkpoint, a_step, an_enqueue

if TYPE_CHECKING:
    from support.stores import PostgresKit

FILES = sorted(
    f.name.removesuffix(".sql")
    for f in resources.files("headway_engine.store.postgres").joinpath("sql").iterdir()
)


async def test_engines_that_start_together_migrate_once(postgres: str) -> None:
    assert set(await asyncio.gather(*[migrate(postgres) for _ in range(4)])) == {
        migrations()[-1][0]
    }
    conn: Any = await asyncpg.connect(postgres)
    try:
        rows = await conn.fetch("SELECT version FROM schema")
    finally:
        await conn.close()
    assert [r[0] for r in rows] == [v for v, _ in migrations()]


async def test_a_newer_schema_is_refused_with_what_to_do(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    await kit.execute("INSERT INTO schema (version, min_engine) VALUES (9999, '99.0')")
    store = PostgresStore(kit.dsn, "e2")
    with pytest.raises(SchemaTooNew, match=r"needs engine 99\.0 or newer"):
        await store.open()
    await kit.execute("UPDATE schema SET min_engine = '0.0.1' WHERE version = 9999")
    await store.open()  # it expanded only: side by side with newer engines
    await store.close()


def test_versions_compare_as_numbers() -> None:
    assert numbers("0.10.0") > numbers("0.9.9")
    assert numbers("1.2.0rc1") == (1, 2, 0)


async def refused(conn: Any, run: str, state: str) -> bool:
    """True if the trigger, and nothing else, refuses the move."""
    try:
        await conn.execute("UPDATE runs SET state = $2 WHERE id = $1", run, state)
    except asyncpg.PostgresError as e:
        return e.sqlstate == "HW001"
    return False


async def test_the_trigger_refuses_what_is_not_in_the_table_of_moves(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    conn: Any = await asyncpg.connect(kit.dsn)
    try:
        for source, target in product(RunState, RunState):
            await conn.execute("ALTER TABLE runs DISABLE TRIGGER USER")
            await conn.execute("UPDATE runs SET state = $2 WHERE id = $1", run.id, source.value)
            await conn.execute("ALTER TABLE runs ENABLE TRIGGER USER")
            legal = not await refused(conn, run.id, target.value)
            assert legal is in_one_write(source, target), (source, target)
    finally:
        await conn.close()


@pytest.mark.parametrize("column", ["epoch", "n"])
async def test_epochs_and_event_numbers_never_go_back(
    postgres_kit: PostgresKit, column: str
) -> None:
    await postgres_kit.attempt(await postgres_kit.ready())
    with pytest.raises(asyncpg.PostgresError, match="illegal move"):
        await postgres_kit.execute(f"UPDATE runs SET {column} = {column} - 1")


async def test_a_save_of_another_epoch_than_the_runs_cannot_be_stored(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_checkpoint(run, 1)])
    with pytest.raises(asyncpg.CheckViolationError):
        await kit.execute("UPDATE checkpoints SET epoch = epoch - 1")


async def test_a_legal_update_calls_no_trigger_function(postgres_kit: PostgresKit) -> None:
    rows = await postgres_kit.fetch(
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgqual IS NULL"
    )
    assert rows == []


@pytest.mark.parametrize("area", FILES)
def test_rows_are_locked_in_order_before_they_are_updated(area: str) -> None:
    for name, sql in statements.load(area).items():
        bare = re.sub(r"--[^\n]*", "", sql)
        for update in re.findall(
            r"UPDATE\s+\w+(?:\s+\w+)?\s+SET(.*?)(?=\bRETURNING\b|\Z|\)\s*,)", bare, re.DOTALL
        ):
            source = re.search(r"(?<!SELECT)\s+FROM\s+(?!unnest)(\w+)", update)
            if source is None:
                continue
            assert re.search(r"ORDER BY [^)]*FOR (NO KEY )?UPDATE", bare), (area, name)


@pytest.mark.parametrize("area", FILES)
def test_statements_take_values_as_parameters_only(area: str) -> None:
    for name, sql in statements.load(area).items():
        assert "%s" not in sql, name
        assert "{" not in sql.replace("'{}'", "").replace("'{", "").replace("}'", ""), name


async def test_facts_name_what_a_crash_could_lose(postgres_kit: PostgresKit) -> None:
    facts = await postgres_kit.store.facts()
    (row,) = await postgres_kit.fetch("SHOW fsync")
    assert facts.durable is (row[0] == "on")
    assert any("fsync" in p for p in facts.problems) is not facts.durable
    newest = migrations()[-1][0]
    assert (facts.kind, facts.schema) == ("postgres", newest)


async def test_a_save_changes_no_index_of_runs(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    session = await kit.ready()
    runs = [await kit.attempt(session) for _ in range(3)]
    for run in runs:
        await kit.move(run.id, Started(run.epoch))
    await kit.store.close()  # a connection that ends tells what it did
    before = await updates(kit)
    await kit.store.open()
    for number in range(1, 11):
        await kit.store.save([a_checkpoint(runs[0], number)])  # alone
        await kit.store.save([a_checkpoint(r, number) for r in runs[1:]])  # in a group
        await kit.store.save([a_step(runs[0], f"s{number}")])
    await kit.store.close()
    seen = before
    while seen[0] < before[0] + 40:
        seen = await updates(kit)
    assert seen[0] - before[0] == 40
    # Now and then a page is full, and the row moves to another one.
    assert seen[1] - before[1] > 30
    await kit.store.open()


async def updates(kit: PostgresKit) -> tuple[int, int]:
    """Rows of runs that were updated, and how many of them without a new entry in any index."""
    (row,) = await kit.fetch(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'runs'"
    )
    return row["n_tup_upd"], row["n_tup_hot_upd"]


async def test_waiting_runs_and_the_longest_wait_are_read_from_the_index_alone(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    await kit.execute(
        "INSERT INTO runs (id, ns, task, queue, state, n, created_at)"
        " SELECT '01JD' || lpad(i::text, 22, '0'), $1, 't', 'q', 'QUEUED', 1, hw_now()"
        " FROM generate_series(1, 3000) i",
        NS,
    )
    conn: Any = await asyncpg.connect(kit.dsn)
    try:
        await conn.execute("VACUUM ANALYZE runs")
        await conn.execute("SET enable_seqscan = off")
        found = await conn.fetch("EXPLAIN " + statements.load("dispatch")["queues"])
    finally:
        await conn.close()
    plan = "\n".join(row[0] for row in found)
    assert "Index Only Scan using runs_heads on runs" in plan
    assert "Index Only Scan using runs_heads_by_key on runs" in plan
    (state,) = await kit.store.queues()
    assert (state.queued, state.oldest_at) == (3000, kit.now())


@pytest.mark.parametrize("plan_of", ["force_generic_plan", "force_custom_plan"])
async def test_kin_of_a_run_are_counted_by_index_alone(
    postgres_kit: PostgresKit, plan_of: str
) -> None:
    kit = postgres_kit
    await kit.execute(
        "INSERT INTO runs (id, ns, task, queue, state, n, created_at, ended_at, origin, failure)"
        " SELECT '01JD' || lpad(i::text, 22, '0'), $1, 't', 'q', 'FAILED', 1, hw_now(), hw_now(),"
        " CASE WHEN i % 50 = 0 THEN '01JD' || lpad((i % 500)::text, 22, '0') ELSE '' END,"
        " CASE WHEN i % 10 = 0 THEN 'SmtpError' ELSE '' END FROM generate_series(1, 20000) i",
        NS,
    )
    conn: Any = await asyncpg.connect(kit.dsn)
    try:
        await conn.execute("VACUUM ANALYZE runs")
        await conn.execute(f"SET plan_cache_mode = {plan_of}")
        kin = statements.load("lists")["kin"].rstrip().rstrip(";")
        await conn.execute(f"PREPARE kin (text, text, text, timestamptz, int) AS {kin}")
        found = await conn.fetch(
            f"EXPLAIN EXECUTE kin('{NS}', '01JD{50:022}', 'SmtpError', hw_now(), 1000)"
        )
    finally:
        await conn.close()
    plan = "\n".join(row[0] for row in found)
    assert "Seq Scan" not in plan, plan
    assert "runs_origin" in plan, plan
    assert plan.count("runs_alike") == 2, plan
    kinds = await kit.store.kin(NS, f"01JD{50:022}", "SmtpError", kit.now() - timedelta(hours=2))
    assert (kinds.forks, kinds.alike) == (40, KIN)


async def test_a_row_without_its_payload_is_refused_in_words(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    run = (await kit.enqueued(an_enqueue()))[0].id
    await kit.execute("DELETE FROM payloads WHERE run = $1", run)
    for asked in (kit.store.detail, kit.store.fork_source):
        with pytest.raises(Refused, match="a row without a payload"):
            await asked(NS, run)
    await kit.execute("DELETE FROM runs WHERE id = $1", run)
    assert await kit.store.detail(NS, run) is None
