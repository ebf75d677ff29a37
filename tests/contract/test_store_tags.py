"""Tags that change after the enqueue, for every store: whatever the run does meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from headway.states import RunState
from headway.tags import TAGS_LIMIT
from headway.wire import ErrorInfo
from headway.wire.replays import ForkAsk
from headway.wire.runs import RunsQuery
from headway_engine.happenings import Failed, Finished, Lost, Started, Tag
from headway_engine.store.forking import forked
from support.factories import NS, a_checkpoint, a_once, a_step, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit

S = RunState
ANA, BEN = "user:ana", "user:ben"
LIVE = [
    S.DELAYED, S.QUEUED, S.STARTING, S.RUNNING, S.WAITING, S.RETRYING, S.REVIEW, S.CANCELLING,
]  # fmt: skip


async def listed(kit: Kit, query: str) -> list[str]:
    return [r.run for r in (await kit.store.runs(NS, RunsQuery(query=query))).runs]


async def test_tags_are_added_and_removed_and_the_event_says_who_did_it(kit: Kit) -> None:
    await kit.ready()
    run, other = await kit.enqueued(an_enqueue(tags=("a", "b")), an_enqueue(tags=("b",)))
    (out,) = await kit.move(run.id, Tag(ANA, ("c", "é +x"), ("a",)))
    assert out.outcome == "ok"
    assert out.run is not None
    assert out.run.tags == ("b", "c", "é +x")
    (event,) = (await kit.store.events(NS, run.id, 0, 100))[1:]
    assert (event.n, event.kind, event.actor, event.source, event.target) == (
        2, "tagged", ANA, "", "",
    )  # fmt: skip
    assert event.data == {"tags": ["b", "c", "é +x"], "added": ["c", "é +x"], "removed": ["a"]}
    assert (await kit.record(run.id)).tags == ("b", "c", "é +x")
    detail = await kit.store.detail(NS, run.id)
    assert detail is not None
    assert detail.row.tags == ("b", "c", "é +x")
    assert await listed(kit, "tag:c") == [run.id]
    assert await listed(kit, "tag:a") == []
    assert await listed(kit, "tag:b") == sorted((run.id, other.id), reverse=True)

    (out,) = await kit.move(run.id, Tag(BEN, (), ("é +x", "c", "b", "never there")))
    assert (out.outcome, out.events[0].data) == (
        "ok", {"tags": [], "removed": ["b", "c", "é +x"]},
    )  # fmt: skip
    assert (await kit.record(run.id)).tags == ()
    assert await listed(kit, "tag:b") == [other.id]


async def test_what_is_so_already_changes_nothing(kit: Kit) -> None:
    await kit.ready()
    (run,) = await kit.enqueued(an_enqueue(tags=("a", "b")))
    for change in (Tag(ANA, ("a", "b", "a")), Tag(ANA, (), ("c",)), Tag(ANA)):
        (out,) = await kit.move(run.id, change)
        assert (out.outcome, out.events) == ("already", [])
    first, again = await kit.move(run.id, Tag(ANA, ("c", "c")), Tag(BEN, ("c",)))
    assert (first.outcome, again.outcome) == ("ok", "already")
    record = await kit.record(run.id)
    assert (record.tags, record.n) == (("a", "b", "c"), 2)


async def test_two_engines_that_tag_a_run_at_once_lose_nothing(kit: Kit) -> None:
    await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    stores = [kit.store, await kit.engine("e2")]
    await asyncio.gather(
        *(stores[k % 2].commit([(run.id, Tag(ANA, (f"t{k}",)))]) for k in range(8))
    )
    record = await kit.record(run.id)
    assert (sorted(record.tags), record.n) == ([f"t{k}" for k in range(8)], 9)
    assert await kit.numbers(run.id) == list(range(1, 10))


@pytest.mark.parametrize("state", LIVE)
async def test_a_tag_moves_nothing(kit: Kit, state: RunState) -> None:
    session = await kit.ready()
    run = await kit.in_state(state, session, tags=("a",))
    before = await kit.record(run.id)
    (out,) = await kit.move(run.id, Tag(ANA, ("late",)))
    assert (out.outcome, out.stop) == ("ok", None)
    after = await kit.record(run.id)
    assert after == msgspec.structs.replace(before, n=before.n + 1, tags=("a", "late"))
    assert await listed(kit, f"tag:late status:{state.status}") == [run.id]


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
async def test_a_run_that_has_ended_is_tagged_and_stays_ended(kit: Kit, end: str) -> None:
    session = await kit.ready()
    if end == "cancelled":
        run = await kit.in_state(S.CANCELLED, session)
    elif end == "failed":
        run = await kit.in_state(S.FAILED, session)
    else:
        run = await kit.attempt(session)
        done = Finished(run.epoch, msgspec.Raw(b"42"), None, 2)
        await kit.move(run.id, Started(run.epoch), done)
    before = await kit.record(run.id)
    (out,) = await kit.move(run.id, Tag(ANA, ("seen",)))
    assert (out.outcome, out.end) == ("ok", None)
    after = await kit.record(run.id)
    assert after == msgspec.structs.replace(before, n=before.n + 1, tags=("seen",))
    assert await listed(kit, f"tag:seen status:{end}") == [run.id]
    assert await listed(kit, "status:dead") == ([run.id] if end == "failed" else [])
    (known,) = (await kit.store.ends(NS, [run.id])).ended
    assert (known.run, known.status) == (run.id, end)


async def test_a_run_that_nobody_knows_has_no_tags(kit: Kit) -> None:
    await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    unknown = an_enqueue().run.id
    (out,) = await kit.move(unknown, Tag(ANA, ("x",)))
    assert (out.outcome, out.run) == ("unknown", None)
    (out,) = await kit.store.commit([(run.id, Tag(ANA, ("x",)), "other")])
    assert (out.outcome, out.run) == ("unknown", None)
    assert (await kit.record(run.id)).tags == ()


async def test_more_tags_than_an_enqueue_may_give_are_refused(kit: Kit) -> None:
    await kit.ready()
    many = tuple(f"t{k}" for k in range(TAGS_LIMIT))
    (run,) = await kit.enqueued(an_enqueue(tags=many[1:]))
    (out,) = await kit.move(run.id, Tag(ANA, ("x", "y")))
    assert (out.outcome, out.message) == (
        "refused", f"the run would have {TAGS_LIMIT + 1} tags, at most {TAGS_LIMIT}: remove some",
    )  # fmt: skip
    assert (await kit.record(run.id)).tags == many[1:]
    # As many as may be; and one for another.
    assert [o.outcome for o in await kit.move(run.id, Tag(ANA, ("x",)))] == ["ok"]
    assert [o.outcome for o in await kit.move(run.id, Tag(ANA, ("y",)))] == ["refused"]
    assert [o.outcome for o in await kit.move(run.id, Tag(ANA, ("y",), ("x",)))] == ["ok"]
    assert (await kit.record(run.id)).tags == (*many[1:], "y")


async def test_a_running_attempt_saves_on_while_its_run_is_tagged(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session)
    other = await kit.engine("e2")

    async def attempt() -> list[str]:
        said: list[str] = []
        for number in range(1, 9):
            saves = [a_checkpoint(run, number), a_step(run, f"s{number}")]
            said += [done.outcome for done in await kit.store.save(saves)]
        for status in ("started", "done"):
            (done,) = await kit.store.save([a_once(run, "mail", status, token="t")])
            said.append(done.outcome)
        return said

    async def person() -> list[str]:
        changes = [Tag(ANA, (f"t{k}",), (f"t{k - 1}",)) for k in range(8)]
        return [(await other.commit([(run.id, c)]))[0].outcome for c in changes]

    said, done = await asyncio.gather(attempt(), person())
    assert (set(said), set(done)) == ({"ok"}, {"ok"})
    record = await kit.record(run.id)
    assert (record.state, record.epoch, record.ck, record.tags) == (S.RUNNING, 1, 8, ("t7",))
    assert await kit.numbers(run.id) == list(range(1, record.n + 1))

    # Its end was decided on what it knew before somebody tagged it: that is no reason to refuse it.
    await other.commit([(run.id, Tag(ANA, ("last",)))])
    (out,) = await kit.move(run.id, Finished(run.epoch, msgspec.Raw(b"1"), None, 1))
    assert out.outcome == "ok"
    record = await kit.record(run.id)
    assert (record.state, record.tags) == (S.SUCCEEDED, ("t7", "last"))


async def test_what_was_given_to_work_stays_given_and_starts_with_the_new_tags(kit: Kit) -> None:
    session = await kit.ready()
    new = an_enqueue(tags=("a",))
    _, given = await kit.store.enqueue(NS, [new], {"default": (5, 0)})
    assert [run for d in given for run, _ in d.runs] == [new.run.id]
    await kit.move(new.run.id, Tag(ANA, ("b",)))
    again = await kit.store.dispatch(NS, "default", 100, 100)
    assert again is None or not again.runs
    answer = await kit.store.claim(NS, "a1", session, "n1", [new.run.id], None)
    (got,) = answer.claimed
    assert (got.run.tags, got.run.n) == (("a", "b"), 3)


async def test_the_next_attempt_has_the_tags_of_its_claim(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session, tags=("a",))
    await kit.move(run.id, Started(run.epoch), Tag(ANA, ("b",)), Lost(run.epoch, "gone"))
    got = await kit.claimed(run.id, session, nonce="n2")
    assert (got.run.tags, got.run.epoch) == (("a", "b"), 3)


async def test_a_fork_has_the_tags_that_its_original_has_now(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.attempt(session, tags=("a", "b"))
    error = ErrorInfo("E", "no")
    await kit.move(run.id, Failed(run.epoch, "stop", error, retry=False))
    await kit.move(run.id, Tag(ANA, ("c",), ("a",)))
    source = await kit.store.fork_source(NS, run.id)
    assert source is not None
    ask = ForkAsk(run.id, an_enqueue().run.id, tags=("d", "c"))
    new = forked(source, ask, kit.now(), None, None, None, ANA)
    assert not isinstance(new, str)
    await kit.enqueued(new)
    assert (await kit.record(ask.new_run)).tags == ("b", "c", "d")
