"""Forks: what is copied, what is not, and that it is one run however often it is asked."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headway.forks import choose
from headway.states import RunState
from headway.wire import BlobRef, ErrorInfo
from headway.wire.replays import ForkAsk, SourcesAsk
from headway_engine.happenings import Failed, Started
from headway_engine.store.forking import GONE, ForkSource, forked
from headway_engine.store.records import Body, NewRun, Run
from support.factories import NS, a_checkpoint, a_once, a_step, an_enqueue

if TYPE_CHECKING:
    from support.stores import Kit

LARGE = BlobRef(f"{NS}/source/aa", 200_000, "aa")


async def failed_run(kit: Kit, *, tags: tuple[str, ...] = ()) -> Run:
    """Checkpoints 1 to 3, a step before each, once marks on both sides of checkpoint 2."""
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue(tags=tags))
    run = (await kit.claimed(run.id, session)).run
    await kit.move(run.id, Started(run.epoch))
    await kit.store.save([a_step(run, "ask-0", after=0), a_once(run, "mail", "done", token="t-1")])
    await kit.store.save([a_checkpoint(run, 1)])
    await kit.store.save([a_step(run, "ask-1", after=1)])
    await kit.store.save([a_checkpoint(run, 2)])
    await kit.store.save([a_step(run, "ask-2", after=2)])
    await kit.store.save([a_once(run, "charge", "done", token="t-2", after=2)])
    await kit.store.save([a_checkpoint(run, 3)])
    await kit.move(run.id, Failed(run.epoch, "stop", ErrorInfo("ValueError", "no"), retry=False))
    return await kit.record(run.id)


async def source_of(kit: Kit, run: str) -> ForkSource:
    source = await kit.store.fork_source(NS, run)
    assert source is not None
    return source


async def a_fork(kit: Kit, run: Run, state: Body | None = None, **ask: Any) -> NewRun:
    source = await source_of(kit, run.id)
    asked = ForkAsk(run.id, an_enqueue().run.id, **ask)
    start = choose(asked.start, source.checkpoints)
    new = forked(source, asked, await kit.store.now(), start, state, None, "user:me")
    assert isinstance(new, NewRun), new
    return new


async def put(kit: Kit, new: NewRun) -> str:
    outcomes, _ = await kit.store.enqueue(NS, [new], {})
    return outcomes[0].outcome


async def test_a_fork_begins_at_its_checkpoint_and_keeps_what_came_before(kit: Kit) -> None:
    run = await failed_run(kit, tags=("demo",))
    new = await a_fork(kit, run, start="#2", tags=("incident",))
    assert await put(kit, new) == "recorded"
    made = await kit.record(new.run.id)
    assert (made.ck, made.origin, made.root, made.key) == (2, run.id, run.id, "")
    detail = await kit.store.detail(NS, made.id)
    assert detail is not None
    assert [(c.number, c.name, c.epoch) for c in detail.checkpoints] == [
        (1, "turn-1", 0),
        (2, "turn-2", 0),
    ]
    assert {(m.key, m.token) for m in detail.marks} == {
        ("ask-0", ""), ("ask-1", ""), ("mail", "t-1"), ("charge", "t-2"),
    }  # fmt: skip
    assert detail.row.tags == ("demo", "incident")
    (event,) = detail.events
    assert (event.kind, event.target) == ("forked", "QUEUED")
    assert event.data["checkpoint"] == 2
    assert event.data["kept"] == ["charge", "mail"]
    assert event.data["by"] == "user:me"


async def test_the_attempt_of_a_fork_is_given_the_state_and_goes_on_after_it(kit: Kit) -> None:
    run = await failed_run(kit)
    body = b'{"turn":2,"model":"haiku"}'
    edited = Body(body, None, len(body), sha256(body).hexdigest())
    new = await a_fork(kit, run, edited, start="name:turn-[12]")
    await put(kit, new)
    session = await kit.ready("a2")
    given = await kit.claimed(new.run.id, session, agent="a2")
    assert (given.checkpoint, given.checkpoint_name) == (2, "turn-2")
    assert bytes(given.state) == body
    saved = await kit.store.save([a_checkpoint(given.run, 3), a_checkpoint(given.run, 4)])
    assert [s.outcome for s in saved] == ["ok", "ok"]
    # The original stays as it is.
    found = await kit.store.state(NS, run.id, 2)
    assert found is not None
    assert found[1] == b'{"turn":2}'


async def test_a_fork_from_the_start_keeps_only_once_marks(kit: Kit) -> None:
    run = await failed_run(kit)
    new = await a_fork(kit, run, start="start")
    await put(kit, new)
    detail = await kit.store.detail(NS, new.run.id)
    assert detail is not None
    assert (detail.checkpoints, detail.row.checkpoint) == ([], 0)
    assert {m.key for m in detail.marks} == {"mail", "charge"}


async def test_cleared_once_marks_happen_again_under_new_tokens(kit: Kit) -> None:
    run = await failed_run(kit)
    new = await a_fork(kit, run, clear=("ch*",))
    await put(kit, new)
    assert new.run.root == new.run.id
    assert {m.key for m in await kit.store.marks(NS, new.run.id) if m.kind == "once"} == {"mail"}
    # A glob that fits nothing changes no token.
    assert (await a_fork(kit, run, clear=("nothing-*",))).run.root == run.id


async def test_forking_twice_under_one_id_is_one_run(kit: Kit) -> None:
    run = await failed_run(kit)
    new = await a_fork(kit, run)
    assert [await put(kit, new), await put(kit, new)] == ["recorded", "again"]
    assert await kit.numbers(new.run.id) == [1]


async def test_a_fork_of_a_fork_names_its_own_origin_and_the_first_root(kit: Kit) -> None:
    run = await failed_run(kit)
    first = await a_fork(kit, run, start="#2")
    await put(kit, first)
    session = await kit.ready("a2")
    given = (await kit.claimed(first.run.id, session, agent="a2")).run
    await kit.move(given.id, Started(given.epoch))
    await kit.move(given.id, Failed(given.epoch, "stop", ErrorInfo("E", ""), retry=False))
    second = await a_fork(kit, await kit.record(given.id), start="#1")
    await put(kit, second)
    assert (second.run.origin, second.run.root) == (first.run.id, run.id)
    marks = {m.key for m in await kit.store.marks(NS, second.run.id)}
    assert marks == {"ask-0", "mail", "charge"}


async def test_large_bodies_are_named_under_the_new_run(kit: Kit) -> None:
    session = await kit.ready()
    (run,) = await kit.enqueued(an_enqueue())
    run = (await kit.claimed(run.id, session)).run
    key = f"{NS}/{run.id}/aa"
    ref = BlobRef(key, 200_000, "aa")
    none = msgspec.Raw(b"")
    await kit.store.save([a_checkpoint(run, 1, state=none, ref=ref, sha256="aa", size=200_000)])
    await kit.store.save([a_step(run, "big", ref=ref, value=None, size=200_000)])
    await kit.store.save([a_checkpoint(run, 2)])
    await kit.move(run.id, Failed(run.epoch, "stop", ErrorInfo("E", ""), retry=False))
    new = await a_fork(kit, run)
    assert new.blobs == (key,)
    await put(kit, new)
    found = await kit.store.state(NS, new.run.id, 1)
    assert found is not None
    assert found[2] is not None
    assert found[2].key == f"{NS}/{new.run.id}/aa"


async def test_a_run_that_lives_is_not_forked(kit: Kit) -> None:
    session = await kit.ready()
    run = await kit.in_state(RunState.RUNNING, session)
    source = await source_of(kit, run.id)
    ask = ForkAsk(run.id, an_enqueue().run.id, start="start")
    why = forked(source, ask, await kit.store.now(), None, None, None, "user:me")
    assert isinstance(why, str)
    assert "running" in why


@pytest.mark.parametrize("gone", ["run", "checkpoint"])
async def test_what_was_removed_in_between_is_refused_whole(kit: Kit, gone: str) -> None:
    run = await failed_run(kit)
    new = await a_fork(kit, run)
    assert new.fork is not None
    if gone == "run":
        new.fork.source = an_enqueue().run.id
    else:
        new.fork.number = 9
    outcomes, _ = await kit.store.enqueue(NS, [new], {})
    assert (outcomes[0].code, outcomes[0].reason) == ("conflict", GONE)
    assert await kit.store.get(NS, new.run.id) is None


async def test_a_plan_reads_what_runs_again_and_what_the_states_lack(kit: Kit) -> None:
    run = await failed_run(kit)
    for start, point, again, lacks in (
        ("last", 3, 0, ("model",)), ("#2", 2, 1, ("model",)), ("#1", 1, 2, ("model",)),
        ("start", 0, 3, ()),
    ):  # fmt: skip
        ask = SourcesAsk(ids=(run.id,), start=start, keys=("turn", "model"))
        (found,) = (await kit.store.sources(NS, ask)).rows
        assert (found.checkpoint, sum(found.again.values())) == (point, again)
        assert found.lacks == lacks
    assert set(found.again) == {"ask"}
    ended = await kit.record(run.id)
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert found.seconds == (ended.ended_at - ended.started_at).total_seconds()
