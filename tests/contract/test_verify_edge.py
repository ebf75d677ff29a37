"""verify at the edge: a history of all kinds holds; each kind of damage is said, with its place."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus, history, subjects
from headway.ids import new_run_id
from headway.states import RunState
from headway.wire import NOTHING, BlobRef
from headway.wire.fleet import QueueAsk
from headway.wire.saves import ModelUsage, SaveMark, SaveUsage
from headway_engine.blobs.memory import MemoryBlobs
from headway_engine.happenings import Finished, Lost, Started, Tag
from headway_ops.verify import Ask
from headway_ops.verify.edge import verify_edge
from support.factories import NS, a_checkpoint, an_enqueue
from support.servers import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from headway.bus import Connection
    from headway_engine.blobs import Blobs
    from headway_ops.verify import Report
    from support.stores import EdgeKit


@pytest.fixture
async def nc(edge_kit: EdgeKit) -> AsyncGenerator[Connection]:
    """The operator's connection."""
    made = await bus.connect(settings_for(edge_kit.nats.url), kind="engine", ident="verify")
    yield made
    await made.close()


async def look(kit: EdgeKit, nc: Connection, *, blobs: Blobs | None = None, **more: Any) -> Report:
    """One check without patience: what the engine has noted is written before."""
    kit.edge.projection.flush()
    ask = Ask("", second_look=0, patience=0, **more)
    return await verify_edge(nc, kit.edge.projection.path, ask, blobs=blobs, now=kit.now)


async def lived(kit: EdgeKit) -> str:
    """Runs of all kinds; the id of one that succeeded with all that a run can have."""
    session = await kit.ready()
    for state in (
        RunState.QUEUED, RunState.DELAYED, RunState.RUNNING, RunState.WAITING, RunState.RETRYING,
        RunState.REVIEW, RunState.CANCELLING, RunState.FAILED, RunState.CANCELLED,
    ):  # fmt: skip
        await kit.in_state(state, session)
    run = await kit.attempt(session, tags=("a", "b"), key="k")
    await kit.store.save([a_checkpoint(run, 1), a_checkpoint(run, 2)])
    await kit.store.save(
        [
            SaveMark(run.id, run.epoch, "s", "step", "f", "done", value=Raw(b"1")),
            SaveMark(run.id, run.epoch, "o", "once", "f", "started"),
            SaveUsage(run.id, run.epoch, [ModelUsage("m", 3, 4, 0.5)]),
        ]
    )
    await kit.move(run.id, Lost(run.epoch, "its agent is gone"))
    again = (await kit.claimed(run.id, session, nonce="n2")).run
    await kit.move(again.id, Started(again.epoch), Tag("user:me", ("c",), ("a",)))
    await kit.store.save([SaveMark(run.id, again.epoch, "o", "once", "f", "done", value=Raw(b"2"))])
    await kit.move(run.id, Finished(again.epoch, Raw(b"7")))
    await kit.move(run.id, Tag("user:me", ("seen",)))
    return run.id


async def test_what_the_engine_did_holds(edge_kit: EdgeKit, nc: Connection) -> None:
    run = await lived(edge_kit)
    report = await look(edge_kit, nc)
    assert report.ok, report.explain()
    assert report.runs == 10
    assert report.lines["I23"].checked == 10
    assert not report.lines["I23"].skipped
    assert {"checkpoint", "once", "succeeded", "review"} < report.seen.keys()
    # Also what was removed, and what never became a run.
    await edge_kit.store.reject(NS, an_enqueue().run.id, "invalid", "no")
    await edge_kit.advance(timedelta(days=31).total_seconds())
    while await edge_kit.store.prune():
        pass
    report = await look(edge_kit, nc)
    assert run not in {v.run for v in report.violations}
    assert report.runs == 7
    assert report.of("I23") == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE runs SET state = 'FAILED' WHERE id = ?", "state is 'FAILED'"),
        ("UPDATE runs SET created_at = created_at + 1 WHERE id = ?", "created_at is"),
        ("UPDATE runs SET tags = '[]' WHERE id = ?", "tags is ()"),
        ("UPDATE runs SET seq = seq - 1 WHERE id = ?", "up to message"),
        ("DELETE FROM runs WHERE id = ?", "up to message 0"),
        ("DELETE FROM events WHERE run = ? AND n = 3", "events in the projection"),
        ("UPDATE checkpoints SET sha256 = 'x' WHERE run = ?", "checkpoints in the projection"),
        ("UPDATE marks SET status = 'started' WHERE run = ?", "marks in the projection"),
        ("UPDATE usage SET tokens_in = 0 WHERE run = ?", "sums of what it used"),
        ("INSERT INTO runs (id, ns, seq, record) SELECT 'A' || substr(?, 2), ns, 1, '' FROM runs"
         " LIMIT 1", "RUNS has no message of it"),
    ],
)  # fmt: skip
async def test_a_row_that_differs_from_its_messages_is_said(
    edge_kit: EdgeKit, nc: Connection, damage: str, said: str
) -> None:
    run = await lived(edge_kit)
    edge_kit.edge.projection.flush()
    with sqlite3.connect(edge_kit.edge.projection.path) as db:
        db.execute(damage, (run,))
    db.close()
    report = await look(edge_kit, nc)
    assert [v.invariant for v in report.violations] == ["I23"], report.explain()
    assert said in report.violations[0].what
    assert report.violations[0].run[1:] == run[1:]


async def forge(nc: Connection, run: str, change: Any) -> None:
    """One more message of a run, as only somebody with the engine's rights could write it."""
    over = subjects.run_all(NS, run)
    last = await history.last(nc, subjects.RUNS, subjects.run_event(NS, run))
    newest = await history.last(nc, subjects.RUNS, over)
    assert last is not None
    assert newest is not None
    body = json.loads(last.data)
    change(body)
    await bus.publish_acked(
        nc, last.subject, json.dumps(body).encode(), bus.expect_last(newest.seq, over)
    )


async def test_an_end_that_is_taken_back_is_said(edge_kit: EdgeKit, nc: Connection) -> None:
    run = await lived(edge_kit)

    def back(body: Any) -> None:
        n = body["events"][-1]["n"] + 1
        event = body["events"][-1] | {
            "n": n, "kind": "queued", "source": "SUCCEEDED", "target": "QUEUED"
        }  # fmt: skip
        body["events"] = [event]
        body["edge"] = {
            "by": "x", "at": event["at"], "fields": {"state": "QUEUED", "n": n, "ended_at": None}
        }  # fmt: skip

    await forge(nc, run, back)
    await edge_kit.store.now()  # the engine follows
    report = await look(edge_kit, nc)
    assert "I3" in {v.invariant for v in report.violations}, report.explain()
    assert report.of("I23") == [], "the projection has what RUNS says, right or wrong"


async def test_a_message_that_says_nothing_is_noted_and_ends_no_run(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    run = await lived(edge_kit)
    seq = (await bus.publish_acked(nc, subjects.run_event(NS, run), b'{"stream":"INGEST"}')).seq
    report = await look(edge_kit, nc)
    assert [n.what for n in report.notes if f"message {seq} of RUNS" in n.what]
    assert report.of("I4") == []


async def test_a_second_run_in_the_window_of_a_key_is_said(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    await edge_kit.ready()
    until = edge_kit.now() + timedelta(hours=1)
    (held,) = await edge_kit.enqueued(an_enqueue(key="k", key_until=until))
    first = held.id
    await edge_kit.advance(1)
    (second,) = await edge_kit.enqueued(an_enqueue())
    assert (await look(edge_kit, nc)).lines["I11"].checked == 1

    def take(body: Any) -> None:
        change = {"by": "x", "at": body["edge"]["at"], "fields": {"key": "k"}}
        body["events"], body["edge"] = [], change

    await forge(nc, second.id, take)
    await edge_kit.store.now()
    (found,) = (await look(edge_kit, nc)).of("I11")
    assert (found.run, f"while run {first} held it" in found.what) == (second.id, True)


async def test_a_large_state_that_is_gone_or_changed_is_said(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    blobs = MemoryBlobs()
    session = await edge_kit.ready()
    run = await edge_kit.attempt(session)
    kept, lost = b"a" * 200_000, b"b" * 200_000
    saves: list[Any] = []
    for number, body in enumerate((kept, lost), 1):
        digest = sha256(body).hexdigest()
        ref = BlobRef(f"{NS}/{run.id}/{digest}", len(body), digest)
        await blobs.put(ref.key, body)
        saves.append(
            a_checkpoint(run, number, sha256=digest, size=len(body), state=NOTHING, ref=ref)
        )
    await edge_kit.store.save(saves)
    report = await look(edge_kit, nc, blobs=blobs)
    assert report.ok, report.explain()
    assert report.lines["I17"].checked == 2
    assert not report.lines["I17"].skipped
    await blobs.remove([saves[1].ref.key])
    await blobs.put(f"{NS}/{new_run_id()}/{'c' * 64}", b"c")
    await edge_kit.advance(timedelta(days=3650).total_seconds())
    found = (await look(edge_kit, nc, blobs=blobs)).of("I17")
    assert [f"{v.what[:12]} {v.what[-7:]}" for v in found if v.run == run.id] == [
        "checkpoint 2 is gone"
    ]
    assert [v.what[:19] for v in found if v.run != run.id] == ["no run speaks of bl"]


async def test_a_queue_that_took_more_than_its_limit_is_said(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    session = await edge_kit.ready()
    before = await edge_kit.attempt(session)
    await edge_kit.store.set_queue(NS, QueueAsk("default", limit=1), "ann")
    await edge_kit.move(before.id, Finished(before.epoch))
    await edge_kit.advance(10)
    first = await edge_kit.attempt(session)
    report = await look(edge_kit, nc)
    assert report.ok, report.explain()
    assert report.lines["I22"].checked == 1
    (waits,) = await edge_kit.enqueued(an_enqueue())

    def claimed(body: Any) -> None:
        event = body["events"][-1] | {
            "n": body["events"][-1]["n"] + 1, "kind": "starting", "source": "QUEUED",
            "target": "STARTING", "epoch": 1,
        }  # fmt: skip
        body["events"] = [event]
        fields = {"state": "STARTING", "n": event["n"], "epoch": 1, "agent": "a1"}
        body["edge"] = {"by": "x", "at": event["at"], "fields": fields}

    await forge(nc, waits.id, claimed)
    await edge_kit.store.now()
    (found,) = (await look(edge_kit, nc)).of("I22")
    assert (found.run, "whose limit is 1" in found.what) == (waits.id, True)
    assert first.id != waits.id


async def test_what_a_journal_says_and_runs_does_not_is_said(
    edge_kit: EdgeKit, nc: Connection, tmp_path: Path
) -> None:
    run = await lived(edge_kit)
    state = sha256(b'{"turn":1}').hexdigest()
    true: list[dict[str, Any]] = [
        {"op": "enqueue", "run": run, "ns": NS, "word": "recorded"},
        {"op": "checkpoint", "run": run, "epoch": 1, "number": 1, "sha256": state},
        {"op": "mark", "run": run, "epoch": 2, "kind": "once", "key": "o",
         "sha256": sha256(b"2").hexdigest()},
        {"op": "result", "run": run, "ns": NS, "status": "succeeded",
         "sha256": sha256(b"7").hexdigest()},
    ]  # fmt: skip
    file = tmp_path / "acks"
    file.write_text("".join(json.dumps(line) + "\n" for line in true))
    report = await look(edge_kit, nc, journals=[file])
    assert report.ok, report.explain()
    assert report.lines["I1"].checked == 1
    assert not report.lines["I1"].skipped
    stranger = new_run_id()
    lies = [
        ({**true[0], "run": stranger}, "I1", stranger),
        ({**true[1], "sha256": "0" * 64}, "I7", run),
        ({**true[1], "number": 9}, "I7", run),
        ({**true[2], "key": "p"}, "I7", run),
        ({**true[3], "status": "failed"}, "I3", run),
    ]  # fmt: skip
    for line, invariant, of in lies:
        file.write_text(json.dumps(line) + "\n")
        report = await look(edge_kit, nc, journals=[file])
        assert [(v.invariant, v.run) for v in report.violations] == [(invariant, of)], line


async def test_one_run_of_many_can_be_asked_for(edge_kit: EdgeKit, nc: Connection) -> None:
    run = await lived(edge_kit)
    report = await look(edge_kit, nc, run=run)
    assert (report.ok, report.runs, report.lines["I23"].checked) == (True, 1, 1)
    assert report.lines["I22"].skipped
    report = await look(edge_kit, nc, since=datetime.now(UTC) + timedelta(hours=1))
    assert (report.ok, report.runs) == (True, 0)
    report = await look(edge_kit, nc, ns="nobody")
    assert (report.ok, report.runs) == (True, 0)


async def test_without_a_projection_that_is_said_and_the_rest_is_checked(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    await lived(edge_kit)
    report = await verify_edge(nc, None, Ask("", second_look=0, patience=0), now=edge_kit.now)
    assert report.ok
    assert report.lines["I23"].skipped == "no projection is given"
    assert report.lines["I4"].checked > 20


async def test_what_stands_still_is_found(edge_kit: EdgeKit, nc: Connection) -> None:
    await lived(edge_kit)
    await edge_kit.advance(3600)
    found = {v.invariant for v in (await look(edge_kit, nc)).violations}
    assert found == {"I2", "I12"}
