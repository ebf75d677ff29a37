"""Postgres goes away, comes back older than it was, has no room or no connection left.

Fault matrix rows 35 and 37-41. What one statement does is in `contract/test_store_postgres_faults`;
here whole installations live through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from msgspec import Raw

from headway.errors import NoSuchRun
from headway.ids import new_run_id
from headway.states import RunState
from headway.wire import ErrorInfo, rpc
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed, Finished, Report
from headway_engine.store import StoreDown
from headway_engine.store.postgres import PostgresStore, db
from headway_ops.local.postgres import PostgresConfig
from support.databases import create_database
from support.engines import calling, config_for, running_engine
from support.factories import NS, a_checkpoint, an_enqueue
from support.servers import running_postgres
from support.site import running_site
from support.stacks import agent_on
from support.stores import PostgresKit
from support.wait import until

if TYPE_CHECKING:
    from support.site import Site

pytestmark = pytest.mark.timeout(240)

ARCHIVING = (("wal_level", "replica"), ("restore_command", "false"))


async def _older_copy(site: Site) -> None:
    """Stop it as by a crash, keep a copy of its files, start it again."""
    await site.stop_postgres(signal.SIGQUIT)
    data = site.postgres.data
    await asyncio.to_thread(shutil.copytree, data, data.with_name("older"))
    await site.postgres.start()


async def _set_back(site: Site, *, promote: bool) -> None:
    """The copy takes its place; promoted, it begins a timeline of its own."""
    await site.stop_postgres(signal.SIGQUIT)
    data = site.postgres.data
    owner = data.stat()
    shutil.rmtree(data)
    data.with_name("older").rename(data)
    if promote:
        (data / "recovery.signal").touch()
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    await site.postgres.start()


@pytest.mark.parametrize(
    "promote",
    [
        pytest.param(False, id="set-back"),
        pytest.param(True, id="promoted", marks=pytest.mark.nightly),
    ],
)
async def test_row_37_a_store_that_lost_its_last_seconds_goes_on_with_what_runs(
    promote: bool,
) -> None:
    config = PostgresConfig(fsync=False, extra=ARCHIVING)
    async with running_site(postgres_config=config) as site:
        site.client.results.poll_first = 0.5
        works = await site.work(3, steps=40)
        await site.saved(works, 2)
        await _older_copy(site)
        copied = await _numbers(site, works)
        # What comes now is lost: checkpoints of attempts that run, and a run.
        item = EnqueueItem(new_run_id(), "quick", Raw(b"{}"), delay=3600)
        (lost,) = await site.client.submit([item])
        assert lost.recorded == "recorded"
        await site.saved(works, max(copied.values()) + 12)
        before = await _numbers(site, works)
        await _set_back(site, promote=promote)
        back = await _numbers(site, works)
        assert all(back[run] < before[run] for run in works)
        # Said to who waits for it; nobody invents a result.
        with pytest.raises(NoSuchRun, match="set back"):
            await lost.result(timeout=30)
        await site.verify(stream=False)
        for run in works:
            kinds = await site.kinds(run)
            # The attempt went on: nothing of it ran twice.
            assert kinds.count("starting") == 1
            assert "lost" not in kinds
            steps = await site.rows(
                "SELECT count(*) AS c, max(number) AS m FROM checkpoints WHERE run = $1", run
            )
            assert steps[0]["m"] <= 40
        engine, agent = site.roles[0].log, site.roles[-1].log
        assert engine.count("epochs are raised") == 1
        assert ("promoted" if promote else "set back") in engine
        assert agent.count("the store lost checkpoints") == len(works)


async def test_row_38_without_a_free_connection_it_waits_and_goes_on() -> None:
    few = PostgresConfig(fsync=False, max_connections=12)
    async with running_postgres(few) as server:
        dsn = await create_database(server)
        kit = PostgresKit(dsn)
        await kit.start()
        runs = [await kit.attempt(session) for session in [await kit.ready()] for _ in range(6)]
        hogs: list[Any] = []
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while len(hogs) < few.max_connections:
                hogs.append(await asyncpg.connect(dsn))
        assert len(hogs) < few.max_connections
        # All at once by the connections that there are.
        done = await asyncio.gather(*(kit.store.save([a_checkpoint(r, 1)]) for r in runs))
        assert [d.outcome for (d,) in done] == ["ok"] * 6
        late = PostgresStore(dsn, "e2", patience=0.3)
        with pytest.raises(StoreDown):
            await late.open()
        for hog in hogs:
            await hog.close()
        await late.open()
        assert [d.outcome for d in await late.save([a_checkpoint(runs[0], 2)])] == ["ok"]
        await late.close()
        await kit.stop()


async def test_row_41_a_claim_that_runs_into_the_statement_timeout_changes_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "SETTINGS", db.SETTINGS | {"statement_timeout": "100ms"})
    kit = PostgresKit(database)
    await kit.start()
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await kit.store.dispatch(NS, "default", 9, 9)
    await kit.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(5); RETURN NEW; END';"
        " CREATE TRIGGER slow BEFORE UPDATE OF state ON runs FOR EACH ROW"
        " WHEN (NEW.state = 'STARTING') EXECUTE FUNCTION slow()"
    )
    other = PostgresStore(database, "e2", patience=0.2)
    await other.open()
    with pytest.raises(StoreDown):
        await other.claim(NS, "a1", session, "n1", [run.id], None)
    assert (await kit.record(run.id)).state is RunState.QUEUED
    await kit.execute("DROP TRIGGER slow ON runs")
    (claimed,) = (await other.claim(NS, "a1", session, "n1", [run.id], None)).claimed
    assert claimed.run.epoch == run.epoch + 1
    await other.close()
    await kit.stop()


@pytest.mark.parametrize(
    "count", [pytest.param(200, id="200"), pytest.param(1000, id="1000", marks=pytest.mark.nightly)]
)
async def test_row_42_retries_that_came_due_while_no_engine_ran_all_start_once(
    nats: str, database: str, count: int
) -> None:
    spec = TaskSpec("noop", isolation="shared", max_attempts=2)
    async with calling(nats) as caller, agent_on(nats, shared_slots=count) as agent:
        failed: set[str] = set()

        def script(a: rpc.Assignment) -> list[Report]:
            if a.run in failed:
                return [Finished(a.run, a.epoch, Raw(b"1"), size=1)]
            failed.add(a.run)
            error = ErrorInfo("ValueError", "no")
            return [AttemptFailed(a.run, a.epoch, "error", error, retry_in=3.0)]

        agent.script = script
        async with running_engine(config_for(nats, database)):
            await caller.deploy(spec)
            await agent.start()
            runs = [new_run_id() for _ in range(count)]
            await caller.send(*(EnqueueItem(r, "noop", Raw(b"{}")) for r in runs))
            await until(lambda: len(failed) == count, 30)
            await until(lambda: _states(database, "RETRYING", count), 30, every=0.1)
        # Nobody is there when they come due; who comes then is asked.
        agent.engine = None
        await until(lambda: _due(database, count), 30, every=0.1)
        async with (
            running_engine(config_for(nats, database, id="e1")),
            running_engine(config_for(nats, database, id="e2")),
        ):
            await until(lambda: _states(database, "SUCCEEDED", count), 60, every=0.1)
            conn: Any = await asyncpg.connect(database)
            try:
                queued = await conn.fetchval(
                    "SELECT count(*) FROM events q JOIN events r ON r.run = q.run"
                    " AND r.n = q.n - 1 WHERE q.kind = 'queued' AND r.kind = 'retrying'"
                )
                early = await conn.fetchval(
                    "SELECT count(*) FROM events q JOIN events r ON r.run = q.run"
                    " AND r.n = q.n - 1 WHERE q.kind = 'queued' AND r.kind = 'retrying' AND q.at <"
                    " (convert_from(r.data, 'UTF8')::jsonb->>'due_at')::timestamptz"
                )
                starts = await conn.fetch(
                    "SELECT run, count(*) AS c FROM events WHERE kind = 'starting' GROUP BY run"
                )
            finally:
                await conn.close()
            assert (queued, early) == (count, 0)
            assert {r["c"] for r in starts} == {2}


async def _states(dsn: str, state: str, count: int) -> bool:
    return await _counted(dsn, "SELECT count(*) FROM runs WHERE state = $1", state) == count


async def _due(dsn: str, count: int) -> bool:
    found = await _counted(
        dsn, "SELECT count(*) FROM runs WHERE state = $1 AND due_at <= hw_now()", "RETRYING"
    )
    return found == count


async def _counted(dsn: str, sql: str, *args: Any) -> int:
    conn: Any = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(sql, *args)
    finally:
        await conn.close()


async def _numbers(site: Site, runs: list[str]) -> dict[str, int]:
    found = await site.rows("SELECT id, ck FROM runs WHERE id = ANY($1)", runs)
    return {r["id"]: r["ck"] for r in found}
