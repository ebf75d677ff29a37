"""What a failing statement does to others: nothing (DECISIONS A2, E1, G4)."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest

from headway.ids import encode
from headway.states import RunState
from headway_engine.happenings import Cancel, Finished, Lost
from headway_engine.store import StoreDown, postgres
from headway_engine.store.postgres import PostgresStore, db, identity
from headway_engine.store.postgres.identity import STEP
from headway_ops.local.postgres import PostgresConfig
from support.databases import create_database
from support.factories import NS, a_checkpoint, a_deployment, a_step, an_agent, an_enqueue
from support.locks import transaction, waiting_for_a_lock
from support.servers import running_postgres
from support.stores import PostgresKit
from support.wait import until


async def test_a_poison_enqueue_is_rejected_alone(postgres_kit: PostgresKit) -> None:
    items = [an_enqueue() for _ in range(9)]
    items[4].run.limit_key = "a\x00b"
    outcomes, _ = await postgres_kit.store.enqueue(NS, items, {"default": (9, 9)})
    assert [o.outcome for o in outcomes] == ["recorded"] * 4 + ["rejected"] + ["recorded"] * 4
    assert "\x00" not in outcomes[4].reason


async def test_a_poison_save_is_rejected_alone(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    session = await kit.ready()
    runs = [await kit.attempt(session) for _ in range(5)]
    saves = [a_checkpoint(r, 1) for r in runs]
    saves[2].name = "\x00"
    done = await kit.store.save([*saves, a_step(runs[0], "k\x00"), a_step(runs[1], "s")])
    assert [d.outcome for d in done] == ["ok", "ok", "rejected", "ok", "ok", "rejected", "ok"]
    too_large = a_checkpoint(runs[2], 1, size=2**70)
    assert [d.outcome for d in await kit.store.save([too_large])] == ["rejected"]
    assert [d.outcome for d in await kit.store.save([a_checkpoint(runs[2], 1)])] == ["ok"]


async def test_a_poison_happening_is_rejected_alone(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    session = await kit.ready()
    runs = [await kit.attempt(session) for _ in range(3)]
    outcomes = await kit.store.commit([(r.id, Cancel("user:me", "\x00")) for r in runs[:1]])
    outcomes += await kit.store.commit(
        [(runs[1].id, Finished(runs[1].epoch)), (runs[2].id, Cancel("user:\x00"))]
    )
    assert [o.outcome for o in outcomes] == ["rejected", "ok", "rejected"]


async def test_a_connection_lost_in_the_middle_is_repeated(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    async with transaction(kit) as somebody:
        await somebody.execute("SELECT 1 FROM runs FOR UPDATE")
        save = asyncio.create_task(kit.store.save([a_checkpoint(run, 1)]))
        pid = await until(lambda: waiting_for_a_lock(kit))
        await somebody.execute("SELECT pg_terminate_backend($1)", pid)
    assert [d.outcome for d in await save] == ["ok"]
    assert (await kit.record(run.id)).ck == 1


async def test_all_connections_lost_are_made_anew(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    await kit.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'headway' AND datname = current_database()"
    )
    assert [d.outcome for d in await kit.store.save([a_checkpoint(run, 1)])] == ["ok"]


async def test_a_store_that_takes_no_writes_is_down_and_comes_back(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    impatient = PostgresStore(kit.dsn, "e3", size=2, list_size=1, patience=0.2)
    await impatient.open()
    try:
        async with transaction(kit) as somebody:
            await somebody.execute("LOCK TABLE runs")
            with pytest.raises(StoreDown):
                await impatient.save([a_checkpoint(run, 1)])
            with pytest.raises(StoreDown):
                await impatient.enqueue(NS, [an_enqueue()], {})
        assert [d.outcome for d in await impatient.save([a_checkpoint(run, 1)])] == ["ok"]
    finally:
        await impatient.close()
    with pytest.raises(StoreDown):
        await impatient.now()


async def test_no_server_is_store_down() -> None:
    store = PostgresStore("postgres://nobody@127.0.0.1:1/none", "e1")
    with pytest.raises(StoreDown):
        await store.open()
    await store.close()


@pytest.mark.parametrize("where", ["migration", "first look"])
async def test_a_server_that_dies_while_the_store_opens_is_store_down(
    database: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        # What asyncpg says when a connection breaks between two of its messages.
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2)")

    if where == "migration":
        monkeypatch.setattr(postgres, "migrate", dies)
    else:
        monkeypatch.setattr(db.identity, "check", dies)
    store = PostgresStore(database, "e1")
    with pytest.raises(StoreDown, match="cannot switch"):
        await store.open()
    await store.close()


async def test_it_works_without_a_statement_cache(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    session = await kit.ready()
    store = PostgresStore(kit.dsn, "e4", size=2, list_size=1, statement_cache_size=0)
    await store.open()
    try:
        item = an_enqueue()
        _, given = await store.enqueue(NS, [item], {"default": (1, 0)})
        assert len(given) == 1
        (got,) = (await store.claim(NS, "a1", session, "n", [item.run.id], None)).claimed
        assert [d.outcome for d in await store.save([a_checkpoint(got.run, 1)])] == ["ok"]
        (end,) = await store.commit([(got.run.id, Finished(got.run.epoch))])
        assert end.outcome == "ok"
    finally:
        await store.close()


async def test_a_batch_leaves_one_outbox_row_until_it_is_published(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit

    async def left() -> int:
        return (await kit.fetch("SELECT count(*) FROM outbox"))[0][0]

    session = await kit.ready()
    runs = await kit.enqueued(*[an_enqueue() for _ in range(6)])
    assert await left() == 1
    await kit.store.dispatch(NS, "default", 9, 9)
    answer = await kit.store.claim(NS, "a1", session, "n", [r.id for r in runs], None)
    claimed = [c.run for c in answer.claimed]
    await kit.store.save([a_checkpoint(r, 1) for r in claimed])
    assert await left() == 3
    await kit.store.published([(r.id, 1) for r in runs[:5]])
    await kit.store.save([a_checkpoint(claimed[0], 2)])
    assert await left() == 4  # one run of the first batch is still missing
    await kit.store.published([(r.id, n) for r in runs for n in range(1, 5)])
    await kit.store.save([a_checkpoint(claimed[0], 3)])
    assert await left() == 2  # what was not published yet, and this one


CHANGES = {
    "promoted": "UPDATE meta SET timeline = timeline - 1",
    "restored elsewhere": "UPDATE meta SET system_id = '7/5/3'",
    "dumped and restored here": "ALTER TABLE meta RENAME TO old; CREATE TABLE meta (LIKE old"
    " INCLUDING ALL); INSERT INTO meta SELECT * FROM old; DROP TABLE old",
}


@pytest.mark.parametrize("how", CHANGES)
async def test_g4_another_database_raises_all_live_epochs_once(
    postgres_kit: PostgresKit, how: str
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    waiting = {
        state: await kit.in_state(state, session)
        for state in (RunState.QUEUED, RunState.DELAYED, RunState.RETRYING, RunState.REVIEW)
    }
    running = await kit.in_state(RunState.RUNNING, session)
    ended = await kit.in_state(RunState.FAILED, session)
    await kit.advance(3600)
    await kit.execute(CHANGES[how])
    late, _ = await asyncio.gather(kit.engine("e2"), kit.engine("e3"))
    for state, run in waiting.items():
        assert (await kit.record(run.id)).epoch == run.epoch + STEP, state
        claimed_by_the_lost = msgspec.structs.replace(run, epoch=run.epoch + 1)
        (save,) = await late.save([a_checkpoint(claimed_by_the_lost, 1)])
        assert save.outcome == "stale_epoch"
    assert (await kit.record(ended.id)).epoch == ended.epoch
    # What the copy has as running was given to nobody else before it was taken: it goes on.
    assert (await kit.record(running.id)).epoch == running.epoch
    assert [d.outcome for d in await late.save([a_checkpoint(running, 1)])] == ["ok"]
    await kit.move(running.id, Lost(running.epoch, "gone"))
    lost = await kit.record(running.id)
    assert (lost.state, lost.epoch) == (RunState.QUEUED, running.epoch + STEP)
    session = await kit.ready()
    # Other claims are above everything that was given out in the part that is lost.
    again = (await kit.claimed(running.id, session, nonce="n2")).run
    assert again.epoch == running.epoch + STEP + 1
    await kit.move(running.id, Lost(again.epoch, "gone"))
    assert (await kit.record(running.id)).epoch == again.epoch + 1
    old = an_enqueue(id=encode(int(kit.now().timestamp() * 1000) - 60_000, 7))
    new = an_enqueue(id=encode(int(kit.now().timestamp() * 1000) + 60_000, 7))
    await late.enqueue(NS, [old, new], {})
    assert [(await kit.record(i.run.id)).epoch for i in (old, new)] == [STEP, 0]


async def test_g4_wal_that_goes_back_on_the_same_timeline_raises_the_epochs_once(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.in_state(RunState.QUEUED, await kit.ready())
    others = [await kit.engine(f"e{i}") for i in (2, 3)]
    for store in others:
        await store.tick()
        # It remembers more than the server has: as after a copy of its files took its place.
        store.db.flushed(2**62)
    for store in others * 2:
        await store.close()
        await store.open()
        await store.tick()
    assert (await kit.record(run.id)).epoch == run.epoch + STEP


async def test_g4_a_copy_that_is_promoted_while_it_is_looked_at_raises_the_epochs_once() -> None:
    replicated = PostgresConfig(fsync=False, extra=(("wal_level", "replica"),))
    async with running_postgres(replicated) as server:
        kit = PostgresKit(await create_database(server))
        await kit.start()
        run = await kit.in_state(RunState.QUEUED, await kit.ready())
        store = await kit.engine("e2")
        await store.close()
        await server.stop()
        (server.data / "standby.signal").touch()
        await server.start()
        conn = await asyncpg.connect(kit.dsn)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):  # nothing is decided before
            await identity.check(conn, identity.Mark())
        await identity.check(PromotedMeanwhile(conn), identity.Mark())
        await identity.check(conn, identity.Mark())
        await conn.close()
        assert (await kit.record(run.id)).epoch == run.epoch + STEP
        await kit.stop()


class PromotedMeanwhile:
    """A connection to a standby that is promoted after the first answer."""

    def __init__(self, conn: Any) -> None:
        self._conn, self._promoted = conn, False

    async def fetchrow(self, sql: str) -> Any:
        """Its answer, which is out of date after the first one."""
        row = await self._conn.fetchrow(sql)
        if not self._promoted:
            self._promoted = await self._conn.fetchval("SELECT pg_promote()")
        return row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


async def test_g4_a_crash_that_loses_nothing_raises_nothing() -> None:
    async with running_postgres() as server:
        kit = PostgresKit(await create_database(server))
        await kit.start()
        run = await kit.in_state(RunState.QUEUED, await kit.ready())
        await kit.store.tick()
        server.kill()
        await server.start()
        await kit.store.tick()
        assert (await kit.record(run.id)).epoch == run.epoch
        await kit.stop()


async def test_a_checkpoint_after_lost_ones_hears_which_one_is_the_last(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    assert [d.outcome for d in await kit.store.save([a_checkpoint(run, 1)])] == ["ok"]
    (done,) = await kit.store.save([a_checkpoint(run, 4)])
    assert (done.outcome, done.n) == ("gap", 1)


async def test_the_operator_can_raise_the_epochs(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    run = await kit.in_state(RunState.QUEUED, await kit.ready())
    await kit.postgres.raise_floor()
    assert (await kit.record(run.id)).epoch == run.epoch + STEP
    await kit.store.register(NS, an_agent("a2"), 15.0)


async def test_a_lock_that_is_held_for_longer_than_the_timeout_costs_time_only(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    async with transaction(kit) as somebody:
        await somebody.execute("SELECT 1 FROM runs FOR UPDATE")
        save = asyncio.create_task(kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 2)]))
        first = await until(lambda: waiting_for_a_lock(kit))
        # lock_timeout ends the statement (55P03); the same batch comes again, as another one.
        await somebody.execute("SELECT pg_sleep(0.6)")
        assert first
        await until(lambda: waiting_for_a_lock(kit))
    assert [d.outcome for d in await save] == ["ok", "ok"]
    assert await kit.numbers(run.id) == [1, 2, 3, 4, 5]


async def test_statements_that_the_server_forgot_are_prepared_again(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await kit.attempt(await kit.ready())
    for number in (1, 2):  # the second one goes by the prepared statement
        assert [d.outcome for d in await kit.store.save([a_checkpoint(run, number)])] == ["ok"]
    await kit.postgres.db.call(lambda c: c.execute("DEALLOCATE ALL"))
    assert [d.outcome for d in await kit.store.save([a_checkpoint(run, 3)])] == ["ok"]
    assert (await kit.record(run.id)).ck == 3


async def test_a_server_that_never_answers_is_down_and_its_connection_is_given_up(
    postgres_kit: PostgresKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STUCK", 0.2)
    store = PostgresStore(postgres_kit.dsn, "e9", size=1, patience=0.1)
    await store.open()
    try:
        with pytest.raises(StoreDown):
            await store.db.call(lambda c: c.fetch("SELECT pg_sleep(30)"))
        assert await store.now()  # by another connection: it has room for one only
    finally:
        await store.close()


async def test_an_id_that_another_namespace_has_is_never_recorded_or_shown(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    await kit.store.deploy("other", a_deployment())
    twin = an_enqueue()
    twin.run = msgspec.structs.replace(twin.run, id=run.id, ns="other")
    (outcome,), _ = await kit.store.enqueue("other", [twin], {})
    assert outcome.outcome == "rejected"
    assert (outcome.record, outcome.ended) == (None, False)
    assert (await kit.record(run.id)).ns == NS
