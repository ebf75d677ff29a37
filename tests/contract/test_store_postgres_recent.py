"""What an engine remembers of runs saves it a read, and is never believed without a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway.states import RunState
from headway.wire.fleet import QueueAsk
from headway_engine.happenings import Cancel, Finished, Started
from headway_engine.store.postgres.recent import FRESH, PAYLOAD, Recent
from support.factories import NS, a_checkpoint, a_deployment, a_once, an_enqueue

if TYPE_CHECKING:
    from headway_engine.store import ClaimAnswer
    from headway_engine.store.records import NewRun, Run
    from support.stores import PostgresKit

ROOM = {"default": (9, 9)}


class Statements:
    """The statements that a store sends while this is looked at."""

    def __init__(self, kit: PostgresKit, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        fetch = kit.postgres.db.fetch

        async def noted(sql: str, *args: Any) -> Any:
            self.sent.append(sql)
            return await fetch(sql, *args)

        monkeypatch.setattr(kit.postgres.db, "fetch", noted)

    def taken(self) -> list[str]:
        """What was sent since the last look."""
        sent, self.sent = self.sent, []
        return sent


async def given(kit: PostgresKit, **fields: Any) -> NewRun:
    """A run that was dispatched by its own enqueue."""
    new = an_enqueue(**fields)
    outcomes, dispatches = await kit.store.enqueue(NS, [new], ROOM)
    assert outcomes[0].outcome == "recorded"
    assert dispatches
    return new


async def claim(kit: PostgresKit, session: int, run: str) -> ClaimAnswer:
    return await kit.store.claim(NS, "a1", session, "n1", [run], None)


async def started(kit: PostgresKit) -> Run:
    """An attempt that is RUNNING, and known to be."""
    session = await kit.ready()
    new = await given(kit)
    run = (await claim(kit, session, new.run.id)).claimed[0].run
    (outcome,) = await kit.move(run.id, Started(run.epoch))
    assert outcome.run is not None
    return outcome.run


async def test_a_run_of_this_engine_is_never_read_on_its_way(
    postgres_kit: PostgresKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    await claim(kit, session, (await given(kit)).run.id)  # the task's spec is known from here on
    statements = Statements(kit, monkeypatch)
    new = await given(kit, tags=("t",), payload={"a": 1})
    assert len(statements.taken()) == 1
    now = await kit.advance(1)
    (claimed,) = (await claim(kit, session, new.run.id)).claimed
    assert len(statements.taken()) == 1
    assert (bytes(claimed.payload), claimed.run.tags) == (b'{"a":1}', ("t",))
    assert claimed.run.claimed_at == claimed.events[0].at == now
    now = await kit.advance(1)
    (outcome,) = await kit.move(new.run.id, Finished(claimed.run.epoch, Raw(b"7")))
    assert len(statements.taken()) == 1
    assert [e.at for e in outcome.events] == [now, now]
    assert outcome.run is not None
    assert (outcome.run.started_at, outcome.run.ended_at) == (now, now)
    record = await kit.record(new.run.id)
    assert (record.state, record.ended_at, record.started_at) == (RunState.SUCCEEDED, now, now)
    assert await kit.numbers(new.run.id) == [1, 2, 3, 4]
    # The same events are read back as were told.
    stored = await kit.store.events(NS, new.run.id, 0, 10)
    assert [(e.n, e.kind, e.at) for e in stored[2:]] == [
        (e.n, e.kind, e.at) for e in outcome.events
    ]


async def test_an_end_after_a_cancel_by_another_engine_is_decided_on_what_is_stored(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await started(kit)
    other = await kit.engine("e2")
    await other.commit([(run.id, Cancel("user:me"))])
    (outcome,) = await kit.move(run.id, Finished(run.epoch))
    assert outcome.run is not None
    assert outcome.run.state is RunState.CANCELLED
    assert await kit.numbers(run.id) == list(range(1, outcome.run.n + 1))


async def test_an_end_after_a_raised_floor_is_taken_from_the_attempt_that_was_open(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await started(kit)
    other = await kit.engine("e2")
    await other.raise_floor()
    (outcome,) = await kit.move(run.id, Finished(run.epoch))
    assert outcome.outcome == "ok"
    assert (await kit.record(run.id)).state is RunState.SUCCEEDED


async def test_an_end_with_an_open_once_mark_goes_to_review(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    run = await started(kit)
    await kit.store.save([a_once(run, "mail", "started")])
    (outcome,) = await kit.move(run.id, Finished(run.epoch))
    assert outcome.run is not None
    assert outcome.run.state is RunState.REVIEW


async def test_an_end_after_a_save_by_another_engine_keeps_the_numbers(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    run = await started(kit)
    other = await kit.engine("e2")
    await other.save([a_checkpoint(run, 1)])
    (outcome,) = await kit.move(run.id, Finished(run.epoch))
    assert outcome.outcome == "ok"
    assert await kit.numbers(run.id) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "ask",
    [
        QueueAsk("default", paused=True),
        QueueAsk("default", limit=1),
    ],
)
async def test_a_fresh_run_is_not_started_out_of_a_queue_that_was_closed_since(
    postgres_kit: PostgresKit, ask: QueueAsk
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    first, second = await given(kit), await given(kit)
    other = await kit.engine("e2")
    await other.set_queue(NS, ask, "user:me")
    answers = [await claim(kit, session, new.run.id) for new in (first, second)]
    refused = [run for answer in answers for run, _ in answer.refused]
    assert refused == [second.run.id] if ask.limit else [first.run.id, second.run.id]
    assert (await kit.record(second.run.id)).state is RunState.QUEUED


async def test_a_fresh_run_that_was_cancelled_or_claimed_since_is_refused(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    cancelled, taken = await given(kit), await given(kit)
    other = await kit.engine("e2")
    await other.commit([(cancelled.run.id, Cancel("user:me"))])
    assert (await other.claim(NS, "a1", session, "n9", [taken.run.id], None)).claimed
    for new in (cancelled, taken):
        answer = await claim(kit, session, new.run.id)
        assert not answer.claimed
        assert [run for run, _ in answer.refused] == [new.run.id]


async def test_a_fresh_run_goes_to_no_session_whose_lease_is_over(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    new = await given(kit)
    await kit.advance(60)
    assert not (await claim(kit, session, new.run.id)).claimed
    assert (await kit.record(new.run.id)).state is RunState.QUEUED


async def test_a_fresh_run_of_another_version_or_namespace_is_read(
    postgres_kit: PostgresKit,
) -> None:
    kit = postgres_kit
    session = await kit.ready()
    new = await given(kit)
    await kit.store.deploy(NS, a_deployment("v2", schema_hash="another"))
    (claimed,) = (await claim(kit, session, new.run.id)).claimed
    assert claimed.run.version == "v2"
    other = await given(kit)
    answer = await kit.store.claim("elsewhere", "a1", session, "n1", [other.run.id], None)
    assert not answer.claimed


def test_what_is_remembered_is_bounded() -> None:
    recent = Recent()
    big = an_enqueue(payload="x" * PAYLOAD)
    recent.enqueued(big, big.run)
    assert recent.take(big.run.id) is None
    first = an_enqueue()
    recent.enqueued(first, first.run)
    later = [an_enqueue() for _ in range(FRESH)]
    for new in later:
        recent.enqueued(new, new.run)
    last = later[-1].run.id
    assert recent.take(first.run.id) is None
    assert recent.take(last) is not None
    assert recent.take(last) is None
