"""What an engine does when a running task enqueues: who may, under which id, and how often."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway import subjects
from headway.children import ChildRecord
from headway.codec import payload_hash
from headway.ids import child_root, child_run_id, new_run_id
from headway.wire import BlobRef, ErrorInfo, decode, encode, rpc
from headway.wire.children import (
    CHILDREN_ENDS,
    ENQUEUED,
    Child,
    ChildAsk,
    ChildEnd,
    ChildOutcome,
    Children,
    ChildrenAsk,
    ChildrenEnds,
    Enqueued,
)
from headway.wire.enqueue import ANSWERS, Ended, EnqueueItem
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed, AttemptLost, Finished
from headway.wire.saves import SaveMark
from headway_engine.store.postgres import PostgresStore
from support.scripted_agent import ScriptedAgent, finish
from support.stacks import agent_on, assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg

TYPED = TaskSpec(
    "typed",
    payload_schema=Raw(b'{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}'),
    schema_hash="h",
)


def child(
    by: rpc.Assignment, under: str, /, task: str = "noop", payload: bytes = b"{}", **more: Any
) -> Child:
    """What an agent sends when a runner enqueues."""
    ref = more.pop("ref", None)
    run = more.pop("run", child_run_id(by.root, by.run, under))
    item = EnqueueItem(run, task, **more)
    return Child(by.run, by.epoch, under, Raw(encode(item)), Raw(payload), ref)


async def enqueue(agent: ScriptedAgent, *children: Child) -> list[ChildOutcome]:
    body = Children(agent.name, agent.session, list(children))
    got: Enqueued = await agent.ask("enqueue", body, ENQUEUED)
    assert not got.busy
    return got.outcomes


async def ends(agent: ScriptedAgent, parent: rpc.Assignment, *keys: str) -> ChildrenEnds:
    asks = [ChildAsk(parent.run, parent.epoch, k) for k in keys]
    body = ChildrenAsk(agent.name, asks)
    told: ChildrenEnds = await agent.ask("ends", body, CHILDREN_ENDS)
    return told


async def test_a_child_is_recorded_once_with_its_parent_and_its_end_is_pushed(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        heard: list[Ended] = []

        async def hear(msg: Msg) -> None:
            heard.extend(decode(ANSWERS, msg.data).ended)

        await agent.nc.subscribe(subjects.agent_reply("default", "a1", "*"), cb=hear)
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        other = new_run_id()
        lying = child(parent, "k", payload=b'{"n":1}', parent=other, root=other, tags=("t",))
        (first,) = await enqueue(agent, lying)
        made = child_run_id(parent.run, parent.run, "k")
        assert first == ChildOutcome("ok", made, fresh=True)
        # Again, and with another payload: the recorded child is the answer.
        (again,) = await enqueue(agent, child(parent, "k", payload=b'{"n":2}'))
        assert again == ChildOutcome("ok", made)
        given = await assigned(agent, made)
        assert (given.parent, given.root) == (parent.run, child_root(parent.run, "k"))
        assert (bytes(given.payload), given.tags) == (b'{"n":1}', ("t",))
        told = await ends(agent, parent, "k", "another")
        assert [(c.run, c.status) for c in told.children] == [
            (made, "starting"),
            (child_run_id(parent.run, parent.run, "another"), "unknown"),
        ]
        await agent.report(Finished(made, given.epoch, Raw(b"7"), size=1))
        await until(lambda: heard)
        assert (heard[0].run, bytes(heard[0].result)) == (made, b"7")
        told = await ends(agent, parent, "k")
        assert told.children[0].ended == heard[0]
        detail = await caller.api("run", {"run": parent.run})
        marks = [(m["key"], m["kind"], m["fn"], m["status"]) for m in detail["marks"]]
        assert marks == [("k", "enqueue", "noop", "done")]
        assert detail["events"][-1]["data"]["child"] == made


async def test_a_stale_attempt_enqueues_nothing(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent), agent_on(nats, "a2") as thief:
        await agent.start()
        await thief.register()
        parent = await assigned(agent, (await caller.enqueue()).run)
        asked = child(parent, "k")
        (stolen,) = await enqueue(thief, asked)
        asked.epoch += 1
        (early,) = await enqueue(agent, asked)
        asked.epoch -= 1
        await agent.report(AttemptLost(parent.run, parent.epoch, "gone"))
        (late,) = await enqueue(agent, asked)
        # The fence itself: the run is open again, under another epoch.
        again = await assigned(agent, parent.run, parent.epoch + 1)
        (stale,) = await enqueue(agent, asked)
        assert {o.outcome for o in (stolen, early, late, stale)} == {"stale_epoch"}
        assert (await ends(agent, again, "k")).children[0].status == "unknown"
        assert (await ends(thief, again, "k")).children == [ChildEnd()]
        (fine,) = await enqueue(agent, child(again, "k"))
        assert fine.outcome == "ok"


async def test_a_crash_between_the_mark_and_the_child_loses_nothing(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        made = child_run_id(parent.run, parent.run, "k")
        record = Raw(encode(ChildRecord(made, payload_hash(b"{}"))))
        mark = SaveMark(parent.run, parent.epoch, "k", "enqueue", "noop", "done", value=record)
        (forged,) = await agent.save(mark)
        assert forged.outcome == "rejected", "an engine alone writes what a child's mark says"
        store = PostgresStore(database, "crashed")
        await store.open()
        (saved,) = await store.save([mark])
        await store.close()
        assert saved.outcome == "ok"
        assert (await enqueue(agent, child(parent, "k")))[0].fresh
        detail = await caller.api("run", {"run": parent.run})
        assert [m["key"] for m in detail["marks"]] == ["k"]
        await assigned(agent, made)


async def test_one_bad_child_fails_alone_and_leaves_no_trace(nats: str, database: str) -> None:
    async with stack(nats, database, TaskSpec("noop"), TYPED) as (_, caller, agent):
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        digest = sha256(b"x").hexdigest()
        foreign = BlobRef(f"default/{new_run_id()}/{digest}", 1, digest)
        outcomes = await enqueue(
            agent,
            child(parent, "a", task="nobody"),
            child(parent, "b", task="typed", payload=b'{"n":"x"}'),
            child(parent, "c", run=new_run_id()),
            child(parent, "d", ref=foreign),
            child(parent, "e", task="typed", payload=b'{"n":1}'),
            Child(parent.run, parent.epoch, "f", Raw(b'{"run":1}')),
            child(parent, "\x00"),
        )
        assert [o.code or o.outcome for o in outcomes] == [
            "unknown_task", "bad_payload", "bad_id", "bad_request", "ok", "malformed",
            "bad_request",
        ]  # fmt: skip
        assert "payload.n: expected integer" in outcomes[1].message
        detail = await caller.api("run", {"run": parent.run})
        assert [m["key"] for m in detail["marks"]] == ["e"]
        assert all(c.status == "unknown" for c in (await ends(agent, parent, *"abcd")).children)


async def test_a_cancelled_parent_starts_no_new_children(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        await enqueue(agent, child(parent, "before"))
        await caller.api("cancel", {"run": parent.run})
        again, new = await enqueue(agent, child(parent, "before"), child(parent, "after"))
        assert (again.outcome, new.outcome) == ("ok", "cancelling")


async def test_a_child_with_a_key_that_is_held_is_the_run_that_holds_it(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        holder = await caller.enqueue(key="k")
        parent = await assigned(agent, (await caller.enqueue()).run)
        (one,) = await enqueue(agent, child(parent, "a", key="k"))
        assert one == ChildOutcome("ok", holder.run)
        (again,) = await enqueue(agent, child(parent, "a", key="k"))
        assert again == one
        scoped = child(parent, "b", key="k", key_scope="parent")
        (own,) = await enqueue(agent, scoped)
        assert (own.run, own.fresh) == (child_run_id(parent.run, parent.run, "b"), True)
        (refused,) = await enqueue(agent, child(parent, "c", key="k", payload=b'{"n":1}'))
        assert (refused.outcome, refused.code) == ("rejected", "key_conflict")
        held = await assigned(agent, holder.run)
        error = ErrorInfo("ValueError", "no")
        await agent.report(AttemptFailed(held.run, held.epoch, "stop", error, retry=False))
        (told,) = (await ends(agent, parent, "a")).children
        assert (told.run, told.status) == (holder.run, "failed")
        assert told.ended is not None
        assert told.ended.error == error


async def test_ends_that_are_large_come_one_answer_after_the_other(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = lambda a: finish(b'"' + b"x" * 120_000 + b'"')(a) if a.parent else []
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        keys = [f"k{i}" for i in range(5)]
        await enqueue(agent, *(child(parent, k) for k in keys))

        async def all_ended() -> ChildrenEnds | None:
            told = await ends(agent, parent, *keys)
            return told if all(c.status == "succeeded" for c in told.children) else None

        told = await until(all_ended, what="all have ended")
        assert told is not None
        left = [k for k, c in zip(keys, told.children, strict=True) if c.ended is None]
        assert (told.more, 0 < len(left) < 5) == (True, True)
        rest = await ends(agent, parent, *left)
        assert (rest.more, all(c.ended for c in rest.children)) == (False, True)


async def test_the_agent_reads_large_results_of_its_childrens_runs_alone(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        parent = await assigned(agent, (await caller.enqueue()).run)
        (made,) = await enqueue(agent, child(parent, "k"))
        given = await assigned(agent, made.run)
        body = msgspec.json.encode("y" * 300_000)
        digest = sha256(body).hexdigest()
        put = rpc.PutPart(given.run, given.epoch, secrets.token_hex(4), 0, True, body, digest)
        stored: rpc.PutAnswer = await agent.ask("blob_put", put, rpc.PUT_ANSWER)
        assert stored.ref is not None
        await agent.report(Finished(given.run, given.epoch, ref=stored.ref, size=len(body)))
        (told,) = (await ends(agent, parent, "k")).children
        assert told.ended is not None
        assert told.ended.result_ref == stored.ref

        async def get(key: str, blob: str) -> rpc.GetAnswer:
            ask = rpc.GetPart(parent.run, parent.epoch, blob, child=key)
            return await agent.ask("child_get", ask, rpc.GET_ANSWER)

        assert (await get("k", stored.ref.key)).data == body
        assert (await get("other", stored.ref.key)).outcome == "refused"
        assert (await get("k", f"default/{parent.run}/{digest}")).outcome == "refused"
