"""One engine on real NATS and Postgres, with an agent by script: the whole path of a run."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.bus import jsapi
from headway.history import history
from headway.ids import new_run_id
from headway.wire import ErrorInfo, decode, rpc
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import RUN_EVENTS
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed, AttemptLost, Finished
from headway.wire.saves import SaveCheckpoint
from support.engines import calling, config_for, running_engine
from support.scripted_agent import finish
from support.stacks import agent_on, assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from headway.bus import Connection
    from support.engines import Caller

QUICK = TaskSpec("noop", max_attempts=3, min_delay=0.2, jitter=0.0)
SHARED = TaskSpec("noop", isolation="shared")


async def events_on_stream(nc: Connection, run: str) -> list[tuple[int, str]]:
    """(n, kind) of the run, as observers read them from RUNS."""
    found: list[tuple[int, str]] = []
    async for m in history(nc, subjects.RUNS, subjects.run_event("default", run)):
        found += [(e.n, e.kind) for e in decode(RUN_EVENTS, m.data).events]
    return found


async def work_messages(caller: Caller) -> int:
    info = await jsapi(caller.nc, f"STREAM.INFO.{subjects.WORK}")
    return int(info["state"]["messages"])


async def test_a_run_goes_all_the_way_and_its_result_is_pushed(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        agent.script = finish(b'{"ok":true}')
        await agent.start()
        word = await caller.enqueue()
        assert word.outcome == "recorded"
        end = await caller.end(word.run)
        assert (end.status, bytes(end.result)) == ("succeeded", b'{"ok":true}')
        assert agent.assignments[word.run].epoch == 1
        detail = await caller.api("run", {"run": word.run})
        kinds = [e["kind"] for e in detail["events"]]
        assert (kinds[:2], kinds[-1]) == (["queued", "starting"], "succeeded")
        assert engine.ready()
        assert caller.durability == "fsynced"


async def test_events_reach_runs_in_order_without_gaps(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        runs = [new_run_id() for _ in range(30)]
        await caller.send(*(EnqueueItem(r, "noop", Raw(b"{}")) for r in runs))
        for run in runs:
            await caller.end(run)

        async def last_is_there(run: str) -> bool:
            found = await events_on_stream(caller.nc, run)
            return bool(found) and found[-1][1] == "succeeded"

        for run in runs:
            await until(lambda run=run: last_is_there(run))
            numbers = [n for n, _ in await events_on_stream(caller.nc, run)]
            assert numbers == list(range(1, len(numbers) + 1))


async def test_a_checkpoint_is_given_to_the_next_attempt_and_the_old_one_is_refused(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        state = b'{"turn":1}'
        await agent.start()
        word = await caller.enqueue()
        first = await assigned(agent, word.run)
        saved = await agent.save(
            SaveCheckpoint(word.run, first.epoch, 1, "turn-1", "aa", len(state), Raw(state))
        )
        assert [o.outcome for o in saved] == ["ok"]
        done = await agent.report(AttemptLost(word.run, first.epoch, "killed"))
        assert [o.outcome for o in done] == ["ok"]
        second = await assigned(agent, word.run, first.epoch + 1)
        assert (second.checkpoint, bytes(second.state), second.attempt) == (1, state, 1)
        stale = await agent.save(
            SaveCheckpoint(word.run, first.epoch, 2, "turn-2", "bb", len(state), Raw(state))
        )
        assert [o.outcome for o in stale] == ["stale_epoch"]
        await agent.report(Finished(word.run, second.epoch, Raw(b"1"), size=1))
        assert (await caller.end(word.run)).status == "succeeded"


async def test_a_failed_attempt_is_tried_again_and_never_early(nats: str, database: str) -> None:
    async with stack(nats, database, QUICK) as (_, caller, agent):
        agent.script = lambda a: (
            [AttemptFailed(a.run, a.epoch, "error", ErrorInfo("ValueError", "no"))]
            if a.attempt < 3
            else [Finished(a.run, a.epoch, Raw(b"3"), size=1)]
        )
        await agent.start()
        word = await caller.enqueue()
        assert bytes((await caller.end(word.run)).result) == b"3"
        events = await caller.api("events", {"run": word.run})
        due = [e["data"]["due_at"] for e in events if e["kind"] == "retrying"]
        again = [e["at"] for e in events if e["kind"] == "queued"][1:]
        assert len(due) == len(again) == 2
        assert all(at >= d for at, d in zip(again, due, strict=True))


async def test_a_failure_after_the_last_attempt_is_pushed_as_an_error(
    nats: str, database: str
) -> None:
    async with stack(nats, database, TaskSpec("noop", max_attempts=1)) as (_, caller, agent):
        agent.script = lambda a: [
            AttemptFailed(a.run, a.epoch, "error", ErrorInfo("ValueError", "no"))
        ]
        await agent.start()
        word = await caller.enqueue()
        end = await caller.end(word.run)
        assert (end.status, end.error) == ("failed", ErrorInfo("ValueError", "no"))


async def test_a_repeated_claim_and_report_get_the_same_answer(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.register()
        word = await caller.enqueue()
        nonces = (f"n{i}" for i in itertools.count(1))

        async def given() -> tuple[str, rpc.Claimed] | None:
            # It may be recorded a moment before it is dispatched.
            nonce = next(nonces)
            answer = await agent.claim([word.run], nonce)
            return (nonce, answer) if answer.assignments else None

        found = await until(given, what="the claim")
        assert found is not None
        nonce, first = found
        again = await agent.claim([word.run], nonce)
        assert [(a.run, a.epoch) for a in first.assignments] == [(word.run, 1)]
        assert [(a.run, a.epoch) for a in again.assignments] == [(word.run, 1)]
        other = await agent.claim([word.run], next(nonces))
        assert [run for run, _ in other.refused] == [word.run]
        report = Finished(word.run, 1, Raw(b"1"), size=1)
        assert [o.outcome for o in await agent.report(report)] == ["ok"]
        assert [o.outcome for o in await agent.report(report)] == ["ok"]


async def test_nothing_is_dispatched_without_a_live_agent_and_the_reason_is_shown(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        words = [await caller.enqueue() for _ in range(3)]
        ticks = next(s for s in engine.services if s.name == "queue-tick")
        await ticks.passed.next()
        assert await work_messages(caller) == 0
        why = await caller.api("why", {"run": words[0].run})
        assert "No live agent serves queue default" in why["why"]
        agent.script = finish()
        await agent.start()
        for word in words:
            await caller.end(word.run)


async def test_work_is_no_deeper_than_the_free_slots_and_a_little(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        agent.slots = 4
        await agent.register()
        await caller.send(*(EnqueueItem(new_run_id(), "noop", Raw(b"{}")) for _ in range(200)))
        await until(lambda: len(caller.recorded) == 200)
        ticks = next(s for s in engine.services if s.name == "queue-tick")
        for _ in range(2):
            await ticks.passed.next()
        assert 4 <= await work_messages(caller) <= 5


async def test_delayed_runs_start_on_time_and_resume_starts_them_now(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        word = await caller.enqueue(delay=0.3)
        later = await caller.enqueue(delay=3600.0)
        events = [e["kind"] for e in await caller.api("events", {"run": word.run})]
        assert events[0] == "delayed"
        await caller.end(word.run)
        detail = await caller.api("run", {"run": word.run})
        queued = next(e for e in detail["events"] if e["kind"] == "queued")
        assert queued["at"] >= detail["events"][0]["data"]["due_at"]
        done = await caller.api("resume", {"run": later.run})
        assert done["outcome"] == "ok"
        await caller.end(later.run)


async def test_a_shared_run_uses_shared_slots(nats: str, database: str) -> None:
    async with stack(nats, database, SHARED) as (_, caller, agent):
        agent.slots = 0
        agent.script = finish()
        await agent.start()
        runs = [new_run_id() for _ in range(300)]
        await caller.send(*(EnqueueItem(r, "noop", Raw(b"{}")) for r in runs))
        for run in runs:
            assert (await caller.end(run)).status == "succeeded"


async def test_two_engines_share_the_work_and_one_is_enough(nats: str, database: str) -> None:
    async with (
        running_engine(config_for(nats, database)) as one,
        running_engine(config_for(nats, database)),
        calling(nats) as caller,
        agent_on(nats) as agent,
    ):
        await caller.deploy()
        agent.script = finish()
        await agent.start()
        words = [await caller.enqueue() for _ in range(20)]
        for word in words:
            await caller.end(word.run)
        one.stop()
        # Its own engine may be gone: the queue group answers as well (DECISIONS A5).
        agent.engine = None
        await agent.beat()
        for word in [await caller.enqueue() for _ in range(5)]:
            await caller.end(word.run)
