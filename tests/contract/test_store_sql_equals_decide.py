"""What the SQL does is what `decide` says: every state, epoch and happening (DECISIONS A4).

The same histories run through the reference store and Postgres; records, events and outcomes must
be equal, and so must the record that `decide` gives for what was loaded before.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway.states import RunState
from headway.wire import ErrorInfo, encode
from headway_engine import happenings as h
from headway_engine.lifecycle import decide
from support.factories import NS, a_checkpoint, a_once, a_step, an_agent, an_enqueue

if TYPE_CHECKING:
    from headway_engine.store.records import Run
    from support.stores import Kit, MemoryKit, PostgresKit

S = RunState
STATES = [
    S.DELAYED, S.QUEUED, S.STARTING, S.RUNNING, S.WAITING, S.RETRYING, S.REVIEW, S.CANCELLING,
    S.FAILED, S.CANCELLED,
]  # fmt: skip
ERROR = ErrorInfo("ValueError", "no", "trace")


def happenings(epoch: int) -> list[h.Happening]:
    """Everything that can happen, spoken by the attempt `epoch`."""
    return [
        h.Due(),
        h.Overdue(),
        h.Started(epoch, "c1", "host", True, 1.5, 2),
        h.Finished(epoch, msgspec.Raw(b"42"), None, 2, "careful"),
        h.Failed(epoch, "error", ERROR, random=0.3),
        h.Failed(epoch, "stop", ERROR, retry=False),
        h.Failed(epoch, "ambiguous", ERROR, key="mail", token="t"),
        h.Failed(epoch, "image", ERROR, evidence="no such image", exit_code=125),
        h.Lost(epoch, "gone", dead=False, evidence="none"),
        h.GivenBack(epoch, "no container", "run"),
        h.Suspended(epoch, "nap", "sleep", "f", 90.0, 1),
        h.Suspended(epoch, "approval", "wait", "f", None, 1),
        h.Stopped(epoch, "drain"),
        h.Stopped(epoch, "cancel"),
        h.Cancel("user:me", "enough"),
        h.Resume("user:me"),
        h.Acknowledge("user:me"),
        h.Acknowledge("user:me", undo=True),
        h.Tag("user:me", ("late", 'q"\\'), ("early",)),
        h.Tag("user:me", (), ("never",)),
        h.VersionMissing("v1"),
    ]


CASES = len(happenings(0))


def plain(run: Run) -> dict[str, Any]:
    """A record to compare; the marks as stored are compared with the run's detail."""
    return msgspec.structs.asdict(msgspec.structs.replace(run, marks=()))


async def told(kit: Kit, run: str) -> Any:
    """All that the store shows of the run, as JSON would carry it."""
    detail = await kit.store.detail(NS, run)
    return encode(detail)


@pytest.mark.parametrize("offset", [0, -1, 1], ids=["current", "older", "newer"])
@pytest.mark.parametrize("state", STATES)
async def test_a_commit_carries_out_what_decide_says(
    postgres_kit: PostgresKit, state: RunState, offset: int
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    for case in range(CASES):
        run = await kit.in_state(state, session, id=an_enqueue().run.id)
        before = await kit.record(run.id)
        happening = happenings(before.epoch + offset)[case]
        expected = decide(before, happening, kit.now())
        (outcome,) = await kit.move(run.id, happening)
        assert (outcome.outcome, outcome.message) == (expected.outcome, expected.message), happening
        after = await kit.record(run.id)
        assert plain(after) == plain(expected.run or before), happening
        events = await kit.store.events(NS, run.id, before.n, 100)
        assert encode(events) == encode(expected.events), happening
        assert outcome.stop == expected.stop


@pytest.mark.parametrize("state", STATES)
async def test_a_save_does_the_same_in_both_stores(
    memory_kit: MemoryKit, postgres_kit: PostgresKit, state: RunState
) -> None:
    sessions = [await kit.ready() for kit in (memory_kit, postgres_kit)]
    for offset in (0, -1, 1):
        run_id = an_enqueue().run.id
        answers: list[Any] = []
        for kit, session in zip((memory_kit, postgres_kit), sessions, strict=True):
            run = await kit.in_state(state, session, id=run_id)
            run = msgspec.structs.replace(run, epoch=run.epoch + offset)
            done = [
                await kit.store.save([save])
                for save in (
                    a_checkpoint(run, 1),
                    a_checkpoint(run, 3),
                    a_step(run, "s"),
                    a_once(run, "o", "started", token="t"),
                    a_once(run, "o", "interrupted"),
                    a_once(run, "o", "done"),
                    a_step(run, "nap", kind="sleep", status="open", seconds=9.0),
                )
            ]
            answers.append((encode(done), await told(kit, run_id)))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(6))
async def test_the_same_history_gives_the_same_records(
    memory_kit: MemoryKit, postgres_kit: PostgresKit, seed: int
) -> None:
    kits: tuple[Kit, Kit] = (memory_kit, postgres_kit)
    chance = random.Random(seed)
    for kit in kits:
        await kit.ready(max_attempts=4)
    runs = [an_enqueue().run.id for _ in range(3)]
    for run in runs:
        for kit in kits:
            await kit.enqueued(an_enqueue(id=run))
    for turn in range(50):
        run = chance.choice(runs)
        kind = chance.choice(["claim", "save", "save", "batch", "move", "move", "time"])
        seconds = chance.choice([1, 5, 61])
        number = chance.randrange(1, 4)
        pick = chance.randrange(CASES)
        stale = chance.random() < 0.15
        answers: list[Any] = []
        for kit in kits:
            record = await kit.record(run)
            actor = msgspec.structs.replace(record, epoch=record.epoch - stale)
            answer: Any = None
            if kind == "time":
                await kit.advance(seconds)
                await kit.store.tick()
                due, _, _ = await kit.store.due(10)
                answer = await kit.store.commit([(r, h.Due()) for r in sorted(due)])
                answer += await kit.store.commit(
                    [(r, h.Overdue()) for r in sorted(await kit.store.overdue(10))]
                )
            elif kind == "claim":
                await kit.store.dispatch(NS, "default", 5, 5)
                await kit.store.register(NS, an_agent(f"a{turn}"), 1e6)
                answer = await kit.store.claim(NS, f"a{turn}", 1, f"n{turn}", [run], None)
            elif kind == "save":
                answer = await kit.store.save([a_checkpoint(actor, actor.ck + 1)])
            elif kind == "batch":
                answer = await kit.store.save(
                    [
                        a_step(actor, f"s{number}", turn),
                        a_checkpoint(actor, actor.ck + number),
                        a_once(actor, "mail", ["started", "done", "failed"][number - 1]),
                        a_step(actor, f"s{number}", "again"),
                    ]
                )
            else:
                answer = await kit.store.commit([(run, happenings(actor.epoch)[pick])])
            answers.append((encode(answer), await told(kit, run)))
        assert answers[0] == answers[1], (turn, kind)
