"""Dead letters and reviews, for every store: flagged, grouped, acknowledged by a person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headway.ids import encode
from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.runs import Kin, OpenMark, RunsQuery
from headway.wire.steering import DeadAsk
from headway_engine.happenings import (
    Acknowledge,
    Failed,
    Finished,
    Happening,
    Lost,
    Overdue,
    Resume,
    Started,
)
from headway_engine.store.listing import NEWEST
from support.factories import NS, a_checkpoint, a_deployment, a_once, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit

S = RunState


def rid(i: int) -> str:
    return encode(1_767_225_600_000 + i, i)


async def failing(
    kit: Kit, session: int, i: int, error: str, *, checkpoints: int = 0, task: str = "research",
    **fields: Any,
) -> str:  # fmt: skip
    """A run that failed for good, a second after the one before."""
    (run,) = await kit.enqueued(an_enqueue(id=rid(i), task=task, **fields))
    got = await kit.claimed(run.id, session, nonce=str(i))
    for number in range(1, checkpoints + 1):
        await kit.store.save([a_checkpoint(got.run, number)])
    message = f"no {i}"
    await kit.advance(1)
    await kit.move(run.id, Failed(got.run.epoch, "stop", ErrorInfo(error, message), retry=False))
    return run.id


async def listed(kit: Kit, query: str) -> list[str]:
    return [r.run for r in (await kit.store.runs(NS, RunsQuery(query=query))).runs]


async def test_a_failure_is_a_dead_letter_until_a_person_has_seen_it(kit: Kit) -> None:
    session = await kit.ready()
    run = await failing(kit, session, 1, "SmtpError")
    (row,) = (await kit.store.runs(NS, RunsQuery(query="status:dead"))).runs
    assert (row.run, row.failure, row.acked) == (run, "SmtpError", False)

    (out,) = await kit.move(run, Acknowledge("user:ana"))
    assert (out.outcome, [(e.kind, e.actor) for e in out.events]) == (
        "ok", [("acknowledged", "user:ana")],
    )  # fmt: skip
    (again,) = await kit.move(run, Acknowledge("user:ben"))
    assert (again.outcome, again.events) == ("already", [])
    assert await listed(kit, "status:dead") == []
    assert await listed(kit, "status:failed failure:SmtpError") == [run]
    assert (await kit.record(run)).state is S.FAILED

    await kit.move(run, Acknowledge("user:ben", undo=True))
    assert await listed(kit, "status:dead") == [run]
    events = await kit.store.events(NS, run, 0, 100)
    assert [(e.kind, e.actor) for e in events[-2:]] == [
        ("acknowledged", "user:ana"), ("unacknowledged", "user:ben"),
    ]  # fmt: skip
    assert [e.n for e in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize(
    ("last", "state", "dead"),
    [
        (Finished(1), S.SUCCEEDED, ""),
        (Failed(1, "timeout", ErrorInfo("TimeoutError", "30 m")), S.TIMED_OUT, "TimeoutError"),
        (Failed(1, "stop", ErrorInfo("", "nameless"), retry=False), S.FAILED, "Error"),
        (Failed(1, "stop", ErrorInfo("A" * 500, ""), retry=False), S.FAILED, "A" * 119 + "…"),
        (Failed(1, "stop", ErrorInfo("a\x00\u202e\x1b[2J", ""), retry=False), S.FAILED,
         "a\\x00\\u202e\\x1b[2J"),
    ],
    ids=["done", "timeout", "nameless", "long", "hostile"],
)  # fmt: skip
async def test_what_ends_without_its_result_is_flagged_with_a_clean_class(
    kit: Kit, last: Happening, state: RunState, dead: str
) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.move(run.id, Started(1), last)
    found = await kit.record(run.id)
    assert (found.state, found.failure, found.acked) == (state, dead, False)
    assert await listed(kit, "status:dead") == ([run.id] if dead else [])


async def test_a_deadline_after_a_start_is_a_dead_letter_and_an_expiry_is_none(kit: Kit) -> None:
    session = await kit.ready()
    begun = await kit.attempt(session, deadline_at=kit.now())
    (never,) = await kit.enqueued(an_enqueue(deadline_at=kit.now()))
    await kit.move(begun.id, Started(1), Overdue())
    await kit.move(never.id, Overdue())
    assert await listed(kit, "status:dead") == [begun.id]


async def test_what_has_not_failed_cannot_be_acknowledged(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    (out,) = await kit.move(run.id, Acknowledge("user:ana"))
    assert (out.outcome, "starting" in out.message) == ("refused", True)


async def test_a_run_that_a_person_failed_is_no_dead_letter(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.move(run.id, Started(1))
    await kit.store.save([a_once(run, "mail", "started", token="t")])
    await kit.move(run.id, Failed(1, "ambiguous", ErrorInfo("OnceAmbiguous", "?"), key="mail"))
    await kit.move(run.id, Resume("user:ana", once=(("mail", "fail"),)))
    assert (await kit.record(run.id)).state is S.FAILED
    assert await listed(kit, "status:dead") == []
    assert (await kit.store.dead(NS, DeadAsk())).classes == []


async def test_not_dead_means_all_the_others(kit: Kit) -> None:
    session = await kit.ready()
    dead = await failing(kit, session, 1, "SmtpError")
    seen = await failing(kit, session, 2, "SmtpError")
    await kit.move(seen, Acknowledge("user:ana"))
    (waits,) = await kit.enqueued(an_enqueue(id=rid(3)))
    assert await listed(kit, "!status:dead") == [waits.id, seen]
    assert await listed(kit, "!status:dead,queued") == [seen]
    assert await listed(kit, "status:dead,queued") == [waits.id, dead]
    assert await listed(kit, "status:dead,failed") == [seen, dead]


async def test_classes_say_how_many_since_when_and_where_most_of_them_stood(kit: Kit) -> None:
    session = await kit.ready()
    await kit.store.deploy(NS, a_deployment("v2", task="send-mail"))
    for i, (error, points, task) in enumerate(
        [
            ("RateLimit", 1, "research"), ("RateLimit", 2, "research"),
            ("RateLimit", 2, "research"), ("RateLimit", 1, "send-mail"), ("OOM", 0, "research"),
        ],
        start=1,
    ):  # fmt: skip
        await failing(kit, session, i, error, checkpoints=points, task=task)
    seen = await failing(kit, session, 6, "Seen")
    await kit.move(seen, Acknowledge("user:ana"))
    await failing(kit, session, 7, "RateLimit", task="research")
    page = await kit.store.dead(NS, DeadAsk())
    assert (page.total, page.more, page.as_of) == (6, 0, kit.now())
    assert [(c.failure, c.task, c.count, c.sample, c.checkpoint, c.checkpoint_name, c.message)
            for c in page.classes] == [
        ("RateLimit", "research", 4, rid(7), 2, "turn-2", "no 7"),
        ("OOM", "research", 1, rid(5), 0, "", "no 5"),
        ("RateLimit", "send-mail", 1, rid(4), 1, "turn-1", "no 4"),
    ]  # fmt: skip
    first = page.classes[0]
    assert (first.last_at - first.first_at).total_seconds() == 6

    page = await kit.store.dead(NS, DeadAsk(by="error"))
    assert [(c.failure, c.task, c.tasks, c.count) for c in page.classes] == [
        ("RateLimit", "research", 2, 5), ("OOM", "research", 1, 1),
    ]  # fmt: skip
    assert (page.classes[0].checkpoint, page.classes[0].sample) == (2, rid(7))
    page = await kit.store.dead(NS, DeadAsk(n=1))
    assert (len(page.classes), page.more, page.total) == (1, 2, 6)
    assert (await kit.store.dead("other", DeadAsk())).classes == []


async def test_the_newest_of_a_class_say_what_it_had_reached(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "postgres", "edge"):
        monkeypatch.setattr(f"headway_engine.store.{module}.dead.NEWEST", 2)
    assert NEWEST == 200
    session = await kit.ready()
    for i, points in enumerate((1, 1, 1, 2, 2), start=1):
        await failing(kit, session, i, "E", checkpoints=points)
    (only,) = (await kit.store.dead(NS, DeadAsk())).classes
    assert (only.count, only.checkpoint) == (5, 2)


async def test_a_review_says_what_it_waits_for(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.move(run.id, Started(1), Lost(1, "agent lost", dead=False))
    got = (await kit.claimed(run.id, 1, nonce="n2")).run
    await kit.move(run.id, Started(got.epoch))
    await kit.store.save([a_once(got, "mail", "started", token="t")])
    error = ErrorInfo("OnceAmbiguous", "once('mail') was interrupted")
    since = await kit.advance(5)
    await kit.move(run.id, Failed(got.epoch, "ambiguous", error, key="mail"))
    await kit.advance(60)
    (other,) = await kit.enqueued(an_enqueue())
    found = await kit.store.reviews(NS, [run.id, other.id, rid(99)])
    assert list(found) == [run.id]
    review = found[run.id]
    assert (review.since, review.why, review.unconfirmed) == (since, error.message, (1,))
    (mark,) = review.marks
    assert isinstance(mark, OpenMark)
    assert (mark.key, mark.epoch, mark.status, bool(mark.token)) == (
        "mail", got.epoch, "started", True,
    )  # fmt: skip
    assert await kit.store.reviews("other", [run.id]) == {}


async def test_kin_are_its_forks_and_those_that_failed_alike(kit: Kit) -> None:
    session = await kit.ready()
    old = await failing(kit, session, 1, "SmtpError")
    first = (await kit.record(old)).ended_at
    now = await kit.advance(8000)
    since, session = now - timedelta(seconds=60), await kit.ready()
    new = [await failing(kit, session, 8_000_000 + i, "SmtpError", created_at=now)
           for i in range(2)]  # fmt: skip
    # Made before that, it failed after it: the list that the number stands for goes by the first.
    await failing(kit, session, 8_000_002, "SmtpError", created_at=now - timedelta(seconds=61))
    other = await failing(kit, session, 8_000_003, "KeyError", created_at=now)
    await kit.move(new[0], Acknowledge("user:ana"))
    await kit.enqueued(*[an_enqueue(id=rid(8_000_100 + i), origin=new[1]) for i in range(2)])

    kin = await kit.store.kin(NS, new[1], "SmtpError", since)
    assert kin == Kin(2, 2, first)
    kin = await kit.store.kin(NS, other, "KeyError", since)
    assert (kin.forks, kin.alike) == (0, 1)
    assert await kit.store.kin(NS, new[0], "", since) == Kin()
    assert await kit.store.kin("other", new[1], "SmtpError", since) == Kin()
    # The list that the numbers stand for.
    at = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert sorted(await listed(kit, f"failure:SmtpError since:{at}")) == sorted(new)
