"""The door of enqueue: what is recorded, what is refused, what happens when something is away."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from msgspec import Raw

from headway import bus, subjects
from headway.bus import jsapi
from headway.ids import new_run_id
from headway.wire import BlobRef, encode, rpc
from headway.wire.blobs import BlobPut
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import TaskSpec
from headway.wire.reports import Finished
from headway.wire.saves import SaveCheckpoint, SaveMark, Saves
from headway.wire.steering import ReplayAsk
from headway_engine import declared, intake
from headway_engine.store.postgres import PostgresStore
from support.engines import Caller, calling, config_for, running_engine
from support.scripted_agent import finish
from support.stacks import agent_on, assigned, stack
from support.wait import until

if TYPE_CHECKING:
    import pytest

    from headway_engine.assembly import Engine
    from headway_engine.service import Service
    from support.scripted_agent import ScriptedAgent

SCHEMA = Raw(
    encode(
        {
            "type": "object",
            "properties": {"topic": {"type": "string"}},
            "required": ["topic"],
            "additionalProperties": False,
        }
    )
)
TYPED = TaskSpec("noop", payload_schema=SCHEMA, schema_hash="abc")


def service(engine: Engine, name: str) -> Service:
    return next(s for s in engine.services if s.name == name)


async def left_in_ingest(caller: Caller) -> int:
    info = await jsapi(caller.nc, f"STREAM.INFO.{subjects.INGEST}")
    return int(info["state"]["messages"])


async def test_a_poison_item_fails_alone(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        good, bad, worse = new_run_id(), new_run_id(), new_run_id()
        await caller.send(
            EnqueueItem(good, "noop", Raw(b"{}")),
            b'{"run":"%s","task":"noop","payload":{},"nonsense":1}' % bad.encode(),
            EnqueueItem(worse, "noop", Raw(b"{}"), tags=("nul\x00",)),
            b'{"task":"noop"}',
        )
        assert (await caller.word(good)).outcome == "recorded"
        assert (await caller.word(bad)).code == "malformed"
        assert (await caller.word(worse)).code == "bad_request"


async def test_an_undecodable_message_is_terminated_and_the_next_one_works(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, _):
        for body in (b"\xff\xfe", b"{", b'{"items":3}', b'{"items":[],"reply":"hw.run.a.b.ev"}'):
            await bus.publish_acked(caller.nc, subjects.ingest("default"), body)
        assert (await caller.enqueue()).outcome == "recorded"

        async def empty() -> bool:
            return await left_in_ingest(caller) == 0

        await until(empty)


async def test_an_unknown_task_is_refused_with_what_to_do(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        word = await caller.enqueue("nope")
        assert (word.outcome, word.code) == ("rejected", "unknown_task")
        assert "headway deploy" in word.reason
        # The refusal is kept: result() raises it later (DECISIONS J3).
        others = (await caller.api("result", {"runs": [word.run]}))["others"]
        assert others[word.run].startswith("rejected")


async def test_the_same_id_again_is_recorded_and_with_another_payload_refused(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, _):
        first = await caller.enqueue(payload=b'{"a":1,"b":2}')
        caller.recorded.clear()
        again = await caller.enqueue(payload=b'{"b":2, "a":1}', run=first.run)
        assert again.outcome == "recorded"
        caller.recorded.clear()
        other = await caller.enqueue(payload=b'{"a":2}', run=first.run)
        assert (other.outcome, other.code) == ("rejected", "conflict")


async def test_the_same_key_gives_the_same_run(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = finish(b"7")
        await agent.start()
        first = await caller.enqueue(key="k")
        await caller.end(first.run)
        caller.ended.clear()
        second = await caller.enqueue(key="k")
        assert (second.outcome, second.winner) == ("duplicate", first.run)
        # The winner has ended already: its end is pushed at once.
        assert bytes((await caller.end(first.run)).result) == b"7"
        other = await caller.enqueue(key="k", payload=b'{"x":1}')
        assert (other.outcome, other.code) == ("rejected", "key_conflict")


async def test_a_run_id_from_another_hour_is_refused(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        for offset in (-3_700_000, 3_700_000):
            run = new_run_id(time.time_ns() // 1_000_000 + offset)
            assert (await caller.enqueue(run=run)).code == "bad_id"


async def test_foreign_payloads_are_checked_and_stamped_ones_are_not(
    nats: str, database: str
) -> None:
    async with stack(nats, database, TYPED) as (_, caller, _):
        assert (await caller.enqueue(payload=b'{"topic":"tides"}')).outcome == "recorded"
        for payload, says in (
            (b'{"topic":3}', "payload.topic: expected string, got integer"),
            (b"{}", "missing topic"),
            (b'{"topic":"a","x":1}', "payload.x: no such parameter"),
            (b"[1]", "expected a JSON object"),
        ):
            word = await caller.enqueue(payload=payload)
            assert (word.outcome, word.code) == ("rejected", "bad_payload")
            assert says in word.reason
        old = await caller.enqueue(payload=b"{}", schema="an-older-hash")
        assert old.code == "bad_payload"
        assert (await caller.enqueue(payload=b'{"topic":3}', schema="abc")).outcome == "recorded"


async def test_a_large_payload_goes_through_blobs(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.register()
        run, body = new_run_id(), b'{"x":"' + secrets.token_hex(400_000).encode() + b'"}'
        upload, size = secrets.token_hex(4), 500_000
        parts = [body[i : i + size] for i in range(0, len(body), size)]
        answer: Any = None
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            ask = BlobPut(run, upload, i, last, part, sha256(body).hexdigest() if last else "")
            answer = await caller.api("blob-put", ask)
        ref = msgspec.convert(answer, BlobRef)
        await caller.send(EnqueueItem(run, "noop", payload_ref=ref))
        assert (await caller.word(run)).outcome == "recorded"
        given = (await agent.claim([run])).assignments[0]
        assert given.payload_ref == ref
        got = bytearray()
        while len(got) < ref.size:
            piece = await agent.ask(
                "blob_get", rpc.GetPart(run, given.epoch, ref.key, len(got)), rpc.GET_ANSWER
            )
            got += piece.data
        assert bytes(got) == body
        stolen = BlobRef(f"other/{run}/{ref.sha256}", ref.size, ref.sha256)
        word = await caller.enqueue(payload_ref=stolen, run=new_run_id())
        assert word.code == "bad_request"


async def test_answers_too_large_for_one_message_are_spilled_to_blobs(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.slots = 16
        await agent.register()
        runs = [new_run_id() for _ in range(12)]
        payload = b'{"x":"' + b"a" * 120_000 + b'"}'
        for run in runs:
            await caller.send(EnqueueItem(run, "noop", Raw(payload)))
        for run in runs:
            await caller.word(run)

        async def all_dispatched() -> bool:
            info = await jsapi(caller.nc, f"STREAM.INFO.{subjects.WORK}")
            return info["state"]["messages"] == len(runs)

        await until(all_dispatched)
        got = await agent.claim(runs)
        assert got.refused == []
        assert {a.run for a in got.assignments} == set(runs)
        ref = got.assignments[0].payload_ref
        assert ref is not None
        assert ref.size == len(payload)


async def test_a_cancel_that_crossed_its_enqueue_is_carried_out_afterwards(
    nats: str, database: str
) -> None:
    store = PostgresStore(database, engine="other")
    async with stack(nats, database) as (_, caller, _):
        word = await caller.enqueue()
        await store.open()
        await store.early_cancel("default", word.run, "user:me", "no need")
        await store.close()
        assert (await caller.end(word.run)).status == "cancelled"
        events = (await caller.api("run", {"run": word.run}))["events"]
        assert events[-1]["actor"] == "user:me"


async def test_an_early_cancel_is_honoured_by_intake(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        run = new_run_id()
        done = await caller.api("cancel", {"run": run, "reason": "too late"})
        assert done["outcome"] == "ok"
        await caller.enqueue(run=run)

        async def cancelled() -> bool:
            answer = await caller.api("result", {"runs": [run]})
            return [e["status"] for e in answer.get("ended", ())] == ["cancelled"]

        await until(cancelled)


async def test_what_was_accepted_while_no_engine_ran_is_recorded_from_its_ingest_time(
    nats: str, database: str
) -> None:
    config = config_for(nats, database)
    async with calling(nats) as caller:
        async with running_engine(config):
            await caller.deploy()
        run, sent = new_run_id(), time.time()
        await caller.send(EnqueueItem(run, "noop", Raw(b"{}"), delay=30.0))
        accepted = time.time()
        async with running_engine(config):
            assert (await caller.word(run)).outcome == "recorded"
            row = (await caller.api("run", {"run": run}))["row"]
            due = msgspec.convert(row["due_at"], type=datetime).timestamp() - 30.0
            # Not from when the engine came back, but from when JetStream stored it.
            assert sent - 1 <= due <= accepted + 0.2


async def test_no_reply_but_an_inbox_is_answered(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, caller, agent):
        await agent.register()
        run = new_run_id()
        spoof = subjects.run_event("default", run)
        runs_before = (await jsapi(caller.nc, f"STREAM.INFO.{subjects.RUNS}"))["state"]["last_seq"]
        api = subjects.api("default", "tester", "info")
        await caller.nc.publish(api, b"{}", reply=spoof)
        await agent.nc.publish(
            subjects.rpc("default", "a1", "load"), encode(rpc.Load(run, 1)), reply=spoof
        )
        doors: list[Any] = [service(engine, "door"), service(engine, "control")]
        await until(lambda: all(d.strikes == 1 for d in doors))
        after = (await jsapi(caller.nc, f"STREAM.INFO.{subjects.RUNS}"))["state"]["last_seq"]
        assert after == runs_before


async def test_an_agent_speaks_only_for_itself(nats: str, database: str) -> None:
    async with stack(nats, database) as (engine, _, agent):
        await agent.register()
        subject = subjects.rpc("default", "another", "save", agent.engine)
        body = encode(Saves("a1", agent.session, []))
        # From an inbox that says nothing of its owner: the body's sender is not the subject's.
        sub = await agent.nc.subscribe("_INBOX.plain.1")
        await agent.nc.publish(subject, body, reply="_INBOX.plain.1")
        assert b'"rpc_error":"forbidden"' in (await sub.next_msg(5)).data
        # From its own: the inbox is not that of the subject's agent either.
        await agent.nc.publish(subject, body, reply=agent.nc.new_inbox())
        door: Any = service(engine, "door")
        await until(lambda: door.strikes == 1)


async def test_an_agent_of_another_namespace_cannot_touch_a_run(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        run = (await caller.enqueue()).run
        a = await assigned(agent, run)
        async with agent_on(nats, "spy", ns="other") as spy:
            await spy.register()
            save = SaveCheckpoint(run, a.epoch, 1, "c", "01", 1, Raw(b"1"))
            assert [o.outcome for o in await spy.save(save)] == ["stale_epoch"]
            done = Finished(run, a.epoch, Raw(b"1"), size=1)
            assert [o.outcome for o in await spy.report(done)] == ["unknown"]
            marks = await spy.ask("load", rpc.Load(run, a.epoch), rpc.LOADED)
            assert marks.marks == []
        assert [o.outcome for o in await agent.save(save)] == ["ok"]
        await agent.report(done)
        assert (await caller.end(run)).status == "succeeded"


async def test_an_agent_reads_and_writes_bodies_of_its_own_attempts_only(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent), agent_on(nats, "a2") as other:
        await agent.start()
        await other.register()
        word = await caller.enqueue()
        a = await assigned(agent, word.run)
        second = await caller.enqueue()
        b = await assigned(agent, second.run)
        body = b"secret"
        put = rpc.PutPart(a.run, a.epoch, "u1", 0, True, body, sha256(body).hexdigest())
        stored = await agent.ask("blob_put", put, rpc.PUT_ANSWER)
        assert stored.outcome == "ok"
        key = stored.ref.key

        async def got(by: ScriptedAgent, run: str, epoch: int) -> str:
            ask = rpc.GetPart(run, epoch, key)
            answer: rpc.GetAnswer = await by.ask("blob_get", ask, rpc.GET_ANSWER)
            assert (answer.outcome == "ok") == bool(answer.data)
            return answer.outcome

        assert await got(agent, a.run, a.epoch) == "ok"
        assert await got(agent, b.run, b.epoch) == "refused"  # the key is of another run
        assert await got(agent, a.run, a.epoch + 1) == "stale_epoch"
        assert await got(other, a.run, a.epoch) == "stale_epoch"
        assert (await other.ask("blob_put", put, rpc.PUT_ANSWER)).outcome == "stale_epoch"
        stolen = Finished(b.run, b.epoch, ref=stored.ref, size=len(body))
        assert [o.outcome for o in await agent.report(stolen)] == ["rejected"]
        await agent.report(Finished(a.run, a.epoch, Raw(b"1"), size=1))
        await caller.end(a.run)
        assert await got(agent, a.run, a.epoch) == "stale_epoch"


async def test_a_replay_takes_its_large_bodies_along(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        run, body = new_run_id(), b'{"x":"' + secrets.token_hex(90_000).encode() + b'"}'
        ask = BlobPut(run, "u", 0, True, body, sha256(body).hexdigest())
        ref = msgspec.convert(await caller.api("blob-put", ask), BlobRef)
        await caller.send(EnqueueItem(run, "noop", payload_ref=ref))
        a = await assigned(agent, run)
        big = b'"' + b"m" * 200_000 + b'"'
        put = rpc.PutPart(run, a.epoch, "u1", 0, True, big, sha256(big).hexdigest())
        value = (await agent.ask("blob_put", put, rpc.PUT_ANSWER)).ref
        mark = SaveMark(run, a.epoch, "k", "once", "f", "done", "t", ref=value, size=len(big))
        assert [o.outcome for o in await agent.save(mark)] == ["ok"]
        await agent.report(Finished(run, a.epoch, Raw(b"1"), size=1))
        await caller.end(run)
        new = new_run_id()
        await caller.api("replay", ReplayAsk(run, new))
        b = await assigned(agent, new)
        refs = [b.payload_ref, b.marks[0].ref]
        for found, content in zip(refs, (body, big), strict=True):
            assert found is not None
            assert found.key.startswith(f"default/{new}/")
            got = await agent.ask("blob_get", rpc.GetPart(new, b.epoch, found.key), rpc.GET_ANSWER)
            assert got.data == content


async def test_an_unknown_verb_is_not_served(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        answer = await caller.api_raw("dance")
        assert answer.error is not None
        assert answer.error.code == "not_served"
        msg = await agent.nc.request(subjects.rpc("default", "a1", "dance"), b"{}")
        assert b'"rpc_error":"not_served"' in msg.data


async def test_the_actor_of_a_command_is_the_user_of_its_subject(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        word = await caller.enqueue()
        done = await caller.api("cancel", {"run": word.run, "reason": "no need"})
        assert (done["outcome"], done["status"]) == ("ok", "cancelled")
        assert (await caller.end(word.run)).status == "cancelled"
        last = (await caller.api("events", {"run": word.run}))[-1]
        assert last["actor"] == "user:tester"


async def test_another_namespace_sees_nothing(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _):
        word = await caller.enqueue()
        for verb in ("run", "why", "events", "resume"):
            answer = await caller.api_raw(verb, {"run": word.run}, ns="other")
            assert answer.error is not None or bytes(answer.data) == b"[]"
        await caller.api("cancel", {"run": word.run}, ns="other")
        row = (await caller.api("run", {"run": word.run}))["row"]
        assert row["status"] == "queued"


async def test_enqueues_that_wait_for_the_store_are_not_delivered_again_meanwhile(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared, "INTAKE_ACK_WAIT", 0.8)
    monkeypatch.setattr(intake, "MARK_EVERY", 0.2)
    verb = f"CONSUMER.INFO.{subjects.INGEST}.{subjects.INTAKE_CONSUMER}"
    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        await caller.deploy()
        holder: Any = await asyncpg.connect(database)
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE runs")
                run = new_run_id()
                await caller.send(EnqueueItem(run, "noop", Raw(b"{}")))
                began = time.monotonic()

                async def waits_waited() -> bool:
                    info = await jsapi(caller.nc, verb)
                    assert (info["delivered"]["consumer_seq"], info["num_redelivered"]) == (1, 0)
                    return time.monotonic() - began > 2.5 * 0.8

                await until(waits_waited, every=0.1)
        finally:
            await holder.close()
        assert (await caller.word(run)).outcome == "recorded"
