"""Forged headers, replies, acks, senders and subjects: each by the user who comes nearest to it.

Under the users of `headway nats config`: refused, or harmless. WORK and RUNS hold nothing new,
other namespaces are unharmed, and the engine goes on serving.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw as RawJson

from headway import bus, subjects
from headway.bus import jsapi
from headway.ids import new_run_id
from headway.wire import encode, rpc
from headway.wire.enqueue import EnqueueBatch, EnqueueItem
from headway_ops.access import rights, write
from support.engines import calling, config_for, running_engine
from support.place import Place, guarded_place
from support.stacks import assigned
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def place() -> AsyncGenerator[Place]:
    async with guarded_place() as made:
        yield made


def batch(run: str, reply: str, payload: str = "{}") -> bytes:
    """One enqueue."""
    item = RawJson(encode(EnqueueItem(run, "noop", RawJson(payload.encode()))))
    return encode(EnqueueBatch([item], reply.split(".")[2], reply))


VICTIM = new_run_id()
FORGED = {
    "rollup all": {"Nats-Rollup": "all"},
    "rollup sub": {"Nats-Rollup": "sub"},
    "ttl": {"Nats-TTL": "1"},
    "schedule": {
        "Nats-Schedule": "@at 2020-01-01T00:00:00Z",
        "Nats-Schedule-Target": f"hw.run.default.{VICTIM}.ev",
    },
    "schedule in the stream": {
        "Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "hw.in.other",
    },
    "unschedule": {"Nats-Schedule-Next": "purge", "Nats-Scheduler": "hw.in.other"},
    "counter": {"Nats-Incr": "1"},
    "expected last": {"Nats-Expected-Last-Sequence": "777"},
    "expected subject": {
        "Nats-Expected-Last-Subject-Sequence": "777",
        "Nats-Expected-Last-Subject-Sequence-Subject": "hw.in.other",
    },
    "expected stream": {"Nats-Expected-Stream": "RUNS"},
    "expected id": {"Nats-Expected-Last-Msg-Id": "x"},
    "batch": {"Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
}  # fmt: skip
"""Refused: nothing is stored."""
CARRIED = {
    "message id": {"Nats-Msg-Id": "mine"},
    "traceparent": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    "trace to a stream": {"Nats-Trace-Dest": f"hw.run.default.{VICTIM}.ev"},
    "trace only": {"Nats-Trace-Dest": "hw.work.default.default", "Nats-Trace-Only": "true"},
    "a source": {"Nats-Stream-Source": "RUNS 1 > >", "Nats-Sequence": "1", "Nats-Subject": "x"},
    "a status": {"Status": "503", "Description": "x"},
}
"""Harmless: at most the message itself is stored."""


async def test_forged_headers_move_nothing_of_others(place: Place, database: str) -> None:
    theirs = [new_run_id() for _ in range(3)]
    async with place.caller("shop", "other") as shop, place.raw("app") as app:
        for run in theirs:
            app.send("hw.in.default", b"{}", headers={"Nats-Msg-Id": run})
            await bus.publish_acked(shop.nc, "hw.in.other", batch(run, shop.reply))
        await app.sync()
        before = await place.last("INGEST", "RUNS", "WORK", "LOGS", "SPANS")
        for what, headers in FORGED.items():
            answer = await app.request(
                "hw.in.default", b"not json", f"_INBOX.client.app.{what.replace(' ', '-')}", headers
            )
            assert b'"error"' in answer, (what, answer)
        assert await place.last("INGEST", "RUNS", "WORK", "LOGS", "SPANS") == before
        for headers in CARRIED.values():
            app.send("hw.in.default", b"not json", headers=headers)
        await app.sync()
        await until(lambda: grew(place, before["INGEST"] + 3), what="those are stored")
        # The same id once more: the publish is dropped as a duplicate, and nobody else's with it.
        app.send("hw.in.default", b"again", headers=CARRIED["message id"])
        await bus.publish_acked(shop.nc, "hw.in.other", batch(theirs[0], shop.reply))
        after = await place.last("INGEST", "RUNS", "WORK", "LOGS", "SPANS")
        assert {k: v for k, v in after.items() if k != "INGEST"} == {
            k: v for k, v in before.items() if k != "INGEST"
        }
        subjects_of = (await place.state("INGEST"))["subjects"]
        assert subjects_of["hw.in.other"] == 4
        # The others' enqueues are all there, and recorded as soon as there is an engine.
        async with running_engine(place.config(database)), place.caller("bea", "other") as bea:
            await bea.deploy()
            for run in theirs:
                assert (await shop.word(run)).outcome in {"recorded", "rejected"}
            assert (await shop.enqueue()).outcome == "recorded"
            # What is no enqueue was thrown away, not kept.
            await until(lambda: emptied(place), what="INGEST is empty")


async def grew(place: Place, to: int) -> bool:
    return (await place.state("INGEST"))["last_seq"] >= to


async def emptied(place: Place) -> bool:
    return (await place.state("INGEST"))["messages"] == 0


AIMS = [
    "hw.work.default.default", f"hw.run.default.{VICTIM}.ev", f"hw.log.other.{VICTIM}.1",
    f"hw.live.run.default.{VICTIM}.ev", "hw.in.other", "hw.in.default", "hw.wake",
    "hw.rpc.default.a1.beat", "hw.api.default.ann.deploy", f"hw.ctl.default.a1.{VICTIM}",
    "$JS.API.STREAM.DELETE.RUNS", "$JS.API.STREAM.PURGE.WORK", "$JS.ACK.WORK.x.1.1.1.1.0",
    "$KV.headway-agents.x", "$O.headway-blobs.M.x", "_INBOX.client.ann.known",
    "_INBOX.agent.default.a1.known", "_INBOX.agent.default.a2.known", "_INBOX.engine.probe.x",
    "hw.reply.ann.known", "hw.reply.agent.default.a2.children", "_R_.guess.ed", "$SYS.REQ.x",
]  # fmt: skip
"""Where a forged reply would have somebody else's answer written."""


def concrete(pattern: str) -> str:
    """A subject that a right allows."""
    return pattern.removesuffix(".>") + f".{VICTIM}.1" if pattern.endswith(".>") else (
        pattern.replace("*", "x")
    )  # fmt: skip


async def test_a_forged_reply_writes_nowhere(place: Place, database: str) -> None:
    everybody = {
        "app": "client", "web": "viewer", "ann": "operator",
        "agent.default.a1": "agent", "agent.default.a2": "agent",
    }  # fmt: skip
    async with (
        running_engine(place.config(database)) as engine,
        place.caller("ann") as ann,
        place.agent() as agent,
        place.raw("ann") as hers,
        place.raw("agent.default.a2") as another,
    ):
        await ann.deploy()
        await agent.register()
        run = (await ann.enqueue()).run  # it lies in WORK: what a pull would bring
        await until(lambda: lies(place, 1), what="the run is in WORK")
        await until(lambda: told(place, 1), what="its first event is in RUNS")
        for victim, aims in (
            (hers, ("_INBOX.client.ann.known", "hw.reply.ann.known")),
            (another, ("_INBOX.agent.default.a2.known", "hw.reply.agent.default.a2.*")),
        ):
            for aim in aims:
                victim.listen(aim)
            await victim.sync()
        before = await place.last("RUNS", "WORK")
        tried = 0
        for name in everybody:
            (account,) = [
                p for t in write.tenants_of(place.server.wanted) for p in t.people
                if p.label == name
            ]  # fmt: skip
            async with place.raw(name) as nc:
                for pattern in account.rights.publish:
                    if pattern.startswith("hw.log") or pattern.startswith("hw.span"):
                        continue  # an agent's own output is stored, whatever the reply
                    subject = concrete(pattern)
                    for aim in AIMS:
                        mine = aim.startswith(f"_INBOX.{everybody[name]}.{name}.") and name == "ann"
                        if mine or (name == "agent.default.a2" and ".a2." in aim):
                            continue
                        if name == "ann" and ".ann." in aim:
                            continue
                        nc.send(subject, b'{"batch":1,"no_wait":true}', reply=aim)
                        tried += 1
                    await nc.sync()
                # One who may write logs: with a reply that is somebody else's.
                if name.startswith("agent"):
                    for aim in AIMS:
                        nc.send(f"hw.log.default.{VICTIM}.1", b"{}", reply=aim)
                    await nc.sync()
                # These two the server itself keeps anybody from naming.
                assert {e.rsplit('"', 2)[-2].split(".")[0] for e in nc.errors} <= {"_R_", "$JS"}
                assert all("with Reply of" in e for e in nc.errors), nc.errors
        assert tried > 500
        # Everything has been answered: the engine's door and api have nothing waiting.
        assert (await ann.api("info"))["engine"] == engine.id
        await hers.sync()
        await another.sync()
        assert hers.heard == []
        assert another.heard == []
        assert await place.last("RUNS", "WORK") == before
        assert (await place.state("WORK"))["messages"] == 1
        # The engine serves, and the run goes its way.
        await agent.start()
        await assigned(agent, run)


async def lies(place: Place, count: int) -> bool:
    return (await place.state("WORK"))["messages"] == count


async def told(place: Place, count: int) -> bool:
    return (await place.last("RUNS"))["RUNS"] >= count


async def test_acks_and_senders_cannot_be_forged(place: Place, database: str) -> None:
    async with (
        running_engine(place.config(database)) as engine,
        place.caller("ann") as ann,
        place.agent() as agent,
        place.raw("app") as app,
        place.raw("web") as web,
        place.raw("agent.other.a1") as foreign,
        place.raw("agent.default.a2") as beside,
    ):
        await ann.deploy()
        await agent.register()
        run = (await ann.enqueue()).run
        await until(lambda: lies(place, 1), what="the run is in WORK")
        # Each verb of an engine's door is one that agents have the right to, and vice versa.
        door: Any = next(s for s in engine.services if s.name == "door")
        assert {*door._quick, *door._slow} == set(rights.AGENT_VERBS)
        ack = "$JS.ACK.WORK.w--default--default.1.1.1.1.0"
        for nc in (app, web, foreign):
            nc.send(ack, b"+ACK")
            nc.send(ack, b"+TERM x")
            nc.send("$JS.API.CONSUMER.MSG.NEXT.WORK.w--default--default", b"1", reply="_INBOX.x")
            for verb in ("beat", "claim", "register"):
                nc.send(f"hw.rpc.default.a1.{verb}", b"{}")
            await nc.sync()
            assert len(nc.errors) == 6, nc.errors
        # An agent of the same queue may ack what was delivered; nothing was: the run stays.
        beside.send(ack, b"+ACK")
        beside.send(ack, b"+ACK", reply=f"hw.run.default.{VICTIM}.ev")
        await beside.sync()
        assert await lies(place, 1)
        # In its own name, but speaking for another.
        beat = encode(rpc.Beat("a1", agent.session, "x", [], 8, 8))
        inbox = "_INBOX.agent.default.a2.q"
        answer = await beside.request("hw.rpc.default.a2.beat", beat, inbox)
        assert b'"rpc_error":"forbidden"' in answer
        # Subjects that are no subjects: wildcards, empty tokens, no text at all.
        for subject in (
            b"hw.rpc.default.a2.*", b"hw.rpc.default.a2.beat.*", b"hw.rpc.default.a2.>",
            b"hw.rpc.default.a2.\xff\xfe", b"hw.rpc.default.a2.beat.\xff", b"hw.rpc.default..beat",
            b"hw.log.default.*.1", b"hw.log.default.>", b"hw.log.default.\xff.1",
            f"hw.log.default.{run}.not-a-number".encode(), f"hw.log.default.{run}.\x0b".encode(),
            b"hw.log.default." + b"x" * 3000,
        ):  # fmt: skip
            beside.send(subject, b"{}", reply=inbox)
        await beside.sync()
        for subject in (b"hw.api.default.app.*", b"hw.api.default.app.\xff", b"hw.in.*"):
            app.send(subject, b"{}")
        before = len(app.errors)
        await app.sync()
        assert len(app.errors) == before + 3
        # Too large: the sender is cut off, nobody else.
        app.send("hw.in.default", b"x" * 2_000_000)
        with pytest.raises((ConnectionError, OSError)):
            await app.until_closed()
        assert (await ann.api("logs", {"run": run})).get("more", False) is False
        assert (await ann.api("info"))["engine"] == engine.id
        await agent.start()
        await assigned(agent, run)


async def test_without_accounts_a_spoof_is_dropped_and_counted(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database)) as engine, calling(nats) as caller:
        await caller.deploy()
        heard: list[str] = []

        async def hear(msg: Any) -> None:
            heard.append(msg.subject)

        names = ("RUNS", "WORK")
        infos = [await jsapi(caller.nc, f"STREAM.INFO.{n}") for n in names]
        for aim in AIMS:
            await caller.nc.subscribe(aim, cb=hear)
        await caller.nc.flush()
        spoofs = [aim for aim in AIMS if not aim.startswith(("_R_.", "$JS.ACK."))]
        sent = 0
        for aim in spoofs:
            for subject in (
                subjects.api("default", "tester", "info"),
                subjects.rpc("default", "mallory", "beat"),
                "$SRV.PING.headway",
            ):
                if subject.startswith("$SRV") and aim.startswith("_INBOX."):
                    continue  # discovery does not say who asks
                await caller.nc.publish(subject, b"{}", reply=aim)
                sent += 1
        counted = {"strikes": 0.0}

        async def beat(msg: Any) -> None:
            counted.update(json.loads(msg.data)["counters"])

        await caller.nc.subscribe(subjects.beat_engine(engine.id), cb=beat)
        await until(lambda: counted["strikes"] >= sent, what="each is counted, for all to see")
        assert counted["strikes"] == sent
        assert heard == []
        after = [await jsapi(caller.nc, f"STREAM.INFO.{n}") for n in names]
        assert [i["state"]["last_seq"] for i in after] == [i["state"]["last_seq"] for i in infos]
        assert (await caller.enqueue()).outcome == "recorded"
