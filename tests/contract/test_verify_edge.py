"""verify at the edge: a history of all kinds holds; each kind of damage is said, with its place."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus, history, subjects
from headway.states import RunState
from headway.wire.saves import ModelUsage, SaveMark, SaveUsage
from headway_engine.happenings import Finished, Lost, Started
from headway_ops.verify import verify_edge
from support.factories import NS, a_checkpoint, an_enqueue
from support.servers import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.bus import Connection
    from headway_ops.verify import Report
    from support.stores import EdgeKit


@pytest.fixture
async def nc(edge_kit: EdgeKit) -> AsyncGenerator[Connection]:
    """The operator's connection."""
    made = await bus.connect(settings_for(edge_kit.nats.url), kind="engine", ident="verify")
    yield made
    await made.close()


async def look(kit: EdgeKit, nc: Connection, **more: Any) -> Report:
    """One check without patience."""
    return await verify_edge(
        nc, kit.edge.projection.path, second_look=0, patience=0, now=kit.now, **more
    )


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
    await kit.move(again.id, Started(again.epoch))
    await kit.store.save([SaveMark(run.id, again.epoch, "o", "once", "f", "done", value=Raw(b"2"))])
    await kit.move(run.id, Finished(again.epoch, Raw(b"7")))
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


async def test_without_a_projection_that_is_said_and_the_rest_is_checked(
    edge_kit: EdgeKit, nc: Connection
) -> None:
    await lived(edge_kit)
    report = await verify_edge(nc, second_look=0, patience=0, now=edge_kit.now)
    assert report.ok
    assert report.lines["I23"].skipped == "no projection is given"
    assert report.lines["I4"].checked > 20


async def test_what_stands_still_is_found(edge_kit: EdgeKit, nc: Connection) -> None:
    await lived(edge_kit)
    await edge_kit.advance(3600)
    found = {v.invariant for v in (await look(edge_kit, nc)).violations}
    assert found == {"I2", "I12"}
