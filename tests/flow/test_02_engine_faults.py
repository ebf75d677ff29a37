"""What an engine does when its store, its NATS, an agent or another engine goes away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
from msgspec import Raw

from headway import bus, subjects
from headway.bus import jsapi
from headway.history import history
from headway.ids import new_run_id
from headway.pull import PullLoop, ack, working
from headway.wire import decode, rpc
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import RUN_EVENTS
from headway.wire.fleet import TaskSpec
from headway.wire.reports import Finished, Started, Stopped
from headway.wire.saves import SAVED, SaveCheckpoint, Saved, SaveMark, Saves
from headway_engine.assembly import Engine
from headway_engine.declared import WORK_ACK_WAIT
from headway_engine.happenings import Cancel
from headway_engine.relay import Sweeper
from headway_engine.store.postgres import PostgresStore
from support.databases import create_database
from support.engines import calling, config_for, running_engine
from support.scripted_agent import finish
from support.servers import running_nats, running_postgres, settings_for
from support.stacks import agent_on, assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from headway_engine.broker import Broker
    from headway_engine.service import Service
    from headway_ops.local.nats import NatsServer


def service(engine: Engine, name: str) -> Any:
    found: Service = next(s for s in engine.services if s.name == name)
    return found


def broker_of(engine: Engine) -> Broker:
    assert engine.broker is not None
    return engine.broker


def checkpoint(a: rpc.Assignment, number: int = 1) -> SaveCheckpoint:
    return SaveCheckpoint(a.run, a.epoch, number, f"c{number}", f"{number:02}", 1, Raw(b"1"))


async def test_while_the_store_is_down_beats_are_answered_and_nothing_is_lost(nats: str) -> None:
    async with running_postgres() as server:
        dsn = await create_database(server)
        async with stack(nats, dsn, lease=2.0, beat_every=0.6) as (engine, caller, agent):
            await agent.start()
            word = await caller.enqueue()
            a = await assigned(agent, word.run)
            server.kill()

            async def frozen() -> bool:
                return (await agent.beat()).store_down

            await until(frozen)
            got: Saved = await agent.ask("save", Saves("a1", agent.session, [checkpoint(a)]), SAVED)
            assert got.busy > 0
            api = await caller.api_raw("run", {"run": word.run})
            assert api.error is not None
            assert api.error.code == "unavailable"
            later = new_run_id()
            await caller.send(EnqueueItem(later, "noop", Raw(b"{}")))
            await until(lambda: not engine.ready())
            # Longer than a lease passes: an outage must not end it (DECISIONS B1).
            rescuer = service(engine, "rescuer")
            await rescuer.passed.after(rescuer.passed.count + 2)
            await server.start()

            async def thawed() -> bool:
                answer = await agent.beat()
                assert not answer.session_over
                return answer.ok

            await until(thawed)
            assert [o.outcome for o in await agent.save(checkpoint(a))] == ["ok"]
            assert (await caller.word(later)).outcome == "recorded"
            await agent.report(Finished(a.run, a.epoch, Raw(b"1"), size=1))
            assert (await caller.end(word.run)).status == "succeeded"
            await until(engine.ready)


async def test_a_lease_that_ends_gives_its_runs_to_another_agent(nats: str, database: str) -> None:
    async with (
        stack(nats, database, lease=1.5, beat_every=0.5) as (_, caller, silent),
        agent_on(nats, "a2") as other,
    ):
        await silent.start()
        word = await caller.enqueue()
        first = await assigned(silent, word.run)
        await silent.report(Started(word.run, first.epoch))
        await silent.stop()  # it pulls no more, and never beats
        other.script = finish()
        await other.start()

        async def given() -> rpc.Assignment | None:
            await other.beat()
            return other.assignments.get(word.run)

        second = await until(given, every=0.1)
        assert second is not None
        assert second.epoch > first.epoch
        assert (await caller.end(word.run)).status == "succeeded"
        assert (await silent.beat()).session_over
        late = await silent.report(Finished(word.run, first.epoch, Raw(b"2"), size=1))
        assert [o.outcome for o in late] == ["stale_epoch"]
        lost = [e for e in await caller.api("events", {"run": word.run}) if e["kind"] == "lost"]
        assert len(lost) == 1


async def test_work_of_an_agent_that_dies_before_its_claim_is_soon_with_another(
    nats: str, database: str
) -> None:
    async with (
        stack(nats, database) as (_, caller, doomed),
        agent_on(nats, "a2") as other,
    ):
        await doomed.register()
        word = await caller.enqueue()
        pulled: list[Msg] = []
        loop = PullLoop(
            doomed.nc, subjects.WORK, subjects.work_consumer("default", "default"),
            want=lambda: 1 - len(pulled), deliver=pulled.extend,
        )  # fmt: skip
        pulling = asyncio.create_task(loop.run())
        await until(lambda: pulled, what="it has pulled the work")
        pulling.cancel()
        await doomed.nc.close()  # and says nothing of it any more
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await pulling
        other.script = finish()
        await other.start()
        # Half of the 30 s that the server waits when it is told nothing.
        await until(lambda: word.run in other.assignments, 15, what="the other agent has it")
        assert (await caller.end(word.run)).status == "succeeded"


async def test_work_that_is_marked_does_not_come_again(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.register()
        await caller.enqueue()
        pulled: list[Msg] = []
        loop = PullLoop(
            agent.nc, subjects.WORK, subjects.work_consumer("default", "default"),
            want=lambda: 10, deliver=pulled.extend,
        )  # fmt: skip
        pulling = asyncio.create_task(loop.run())
        await until(lambda: pulled, what="it has pulled the work")
        began = asyncio.get_running_loop().time()

        async def two_waits_long() -> bool:
            await working(agent.nc, pulled[:1])
            return asyncio.get_running_loop().time() - began > 2 * WORK_ACK_WAIT

        await until(two_waits_long, every=0.2)
        assert len(pulled) == 1
        await until(lambda: len(pulled) == 2, what="without marks it comes again")
        await ack(agent.nc, pulled)
        loop.stop()
        await pulling


async def test_a_cancel_reaches_the_agent_at_once_and_is_repeated_by_beats(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        heard: list[rpc.Ctl] = []

        async def on_ctl(msg: Msg) -> None:
            heard.append(decode(rpc.CTL, msg.data))

        await agent.nc.subscribe(subjects.ctl("default", "a1"), cb=on_ctl)
        await agent.start()
        word = await caller.enqueue()
        a = await assigned(agent, word.run)
        await agent.report(Started(a.run, a.epoch))
        agent.held[a.run] = a.epoch
        done = await caller.api("cancel", {"run": word.run, "reason": "enough"})
        assert (done["outcome"], done["status"]) == ("ok", "cancelling")
        await until(lambda: heard)
        assert (heard[0].run, heard[0].epoch, heard[0].why) == (a.run, a.epoch, "cancel")
        for _ in range(2):
            assert (a.run, a.epoch, "cancel") in [tuple(s) for s in (await agent.beat()).stop]
        stopped = await agent.report(Stopped(a.run, a.epoch, "cancel"))
        assert [o.outcome for o in stopped] == ["ok"]
        assert (await caller.end(word.run)).status == "cancelled"
        assert (await agent.beat()).stop == []


async def test_events_that_a_dead_engine_left_are_published_by_another(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (engine, caller, _):
        word = await caller.enqueue()
        # Another engine commits a cancel and dies before it publishes anything.
        dead = PostgresStore(database, engine="dead")
        await dead.open()
        await dead.commit([(word.run, Cancel("user:ghost"))])
        await dead.close()
        store: Any = PostgresStore(database, engine="sweeper")
        await store.open()
        try:
            await Sweeper(service(engine, "relay"), store, older_than=0.0).once()
        finally:
            await store.close()

        async def kinds() -> list[str]:
            subject = subjects.run_event("default", word.run)
            return [
                e.kind
                async for m in history(caller.nc, subjects.RUNS, subject)
                for e in decode(RUN_EVENTS, m.data).events
            ]

        async def there() -> bool:
            return "cancelled" in await kinds()

        await until(there)


async def test_runs_whose_messages_are_gone_from_work_are_published_again(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        await agent.register()
        word = await caller.enqueue()
        dispatcher = service(engine, "dispatch")
        await until(lambda: dispatcher.published == 1)
        await jsapi(caller.nc, f"STREAM.PURGE.{subjects.WORK}")
        await _older_dispatches(database)
        service(engine, "work-sweep").wake()
        agent.script = finish()
        await agent.start()
        assert (await caller.end(word.run)).status == "succeeded"


async def test_a_lost_work_stream_is_made_again(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        await agent.register()
        first = await caller.enqueue()
        dispatcher = service(engine, "dispatch")
        await until(lambda: dispatcher.published == 1)
        created = broker_of(engine).work_created
        await jsapi(caller.nc, f"STREAM.DELETE.{subjects.WORK}")
        second = await caller.enqueue()
        await until(lambda: broker_of(engine).work_created != created)
        await _older_dispatches(database)
        service(engine, "work-sweep").wake()
        agent.script = finish()
        await agent.start()
        for word in (first, second):
            assert (await caller.end(word.run)).status == "succeeded"


async def _older_dispatches(dsn: str) -> None:
    """As if they had been made a minute earlier."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("UPDATE dispatches SET at = at - interval '1 minute'")
    finally:
        await connection.close()


async def test_an_engine_goes_on_after_nats_was_killed_and_started(
    nats_server: NatsServer, database: str
) -> None:
    async with stack(nats_server.url, database) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await caller.end((await caller.enqueue()).run)
        nats_server.kill()
        await nats_server.start()
        await until(lambda: caller.nc.is_connected and agent.nc.is_connected)

        async def enqueued() -> str:
            run = new_run_id()
            try:
                await caller.send(EnqueueItem(run, "noop", Raw(b"{}")))
            except bus.HeadwayError:
                return ""
            return run

        run = await until(enqueued)
        assert (await caller.end(run)).status == "succeeded"


async def test_a_stopped_engine_drains_and_the_next_one_records_the_rest(
    nats: str, database: str
) -> None:
    config = config_for(nats, database)
    runs = [new_run_id() for _ in range(60)]
    async with calling(nats) as caller:
        async with running_engine(config) as engine:
            await caller.deploy()
            for i, run in enumerate(runs):
                await caller.send(EnqueueItem(run, "noop", Raw(b"{}")))
                if i == 20:
                    engine.stop()
        async with running_engine(config):
            for run in runs:
                assert (await caller.word(run)).outcome == "recorded"
            page = await caller.api("runs", {"n": 1000})
            assert {r["run"] for r in page["runs"]} == set(runs)


async def test_an_engine_waits_for_nats_and_for_postgres() -> None:
    async with running_postgres() as server:
        dsn = await create_database(server)
        server.kill()
        async with running_nats() as nats_server:
            nats_server.kill()
            engine = Engine(config_for(nats_server.url, dsn))
            task = asyncio.create_task(engine.run())
            nc = None
            await nats_server.start()
            await server.start()
            try:
                async with asyncio.timeout(20):
                    await engine.started.wait()
                nc = await bus.connect(settings_for(nats_server.url), kind="client", ident="x")
                assert engine.ready()
            finally:
                engine.stop()
                await task
                if nc is not None:
                    await nc.close()


async def test_a_poison_save_is_answered_alone(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        word = await caller.enqueue()
        a = await assigned(agent, word.run)
        bad = SaveMark(a.run, a.epoch, "k\x00", "step", "f", "done", value=Raw(b"1"), size=1)
        good = SaveMark(a.run, a.epoch, "k", "step", "f", "done", value=Raw(b"1"), size=1)
        outcomes = await agent.save(bad, good, checkpoint(a))
        assert [o.outcome for o in outcomes] == ["rejected", "ok", "ok"]


async def test_two_thousand_runs_due_at_once_are_all_moved_and_none_early(
    nats: str, database: str
) -> None:
    spec = TaskSpec("noop", isolation="shared")
    async with stack(nats, database, spec) as (engine, caller, _):
        runs = [new_run_id() for _ in range(2000)]
        for i in range(0, 2000, 500):
            await caller.send(
                *(EnqueueItem(r, "noop", Raw(b"{}"), delay=1.5) for r in runs[i : i + 500])
            )
        timers = service(engine, "timers")
        await until(lambda: timers.moved == 2000, 30)
        connection = await asyncpg.connect(database)
        try:
            rows = await connection.fetch(
                "SELECT data FROM events WHERE kind = 'queued' AND n = 2 LIMIT 3000"
            )
            # Due is counted from the arrival in INGEST, which a busy machine records later.
            early = await connection.fetchval(
                "SELECT count(*) FROM events q JOIN events d ON d.run = q.run AND d.n = 1"
                " WHERE q.n = 2 AND (q.at >= (convert_from(d.data, 'UTF8')::jsonb->>'due_at')"
                "::timestamptz) IS NOT TRUE"
            )
        finally:
            await connection.close()
        assert (len(rows), early) == (2000, 0)
