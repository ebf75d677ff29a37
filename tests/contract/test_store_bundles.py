"""What a run from a bundle begins with, and what a bundle reads, for every store."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.ids import new_run_id
from headway.wire import BlobRef, ErrorInfo
from headway.wire.bundles import BundleFork, Given
from headway.wire.fleet import TaskSpec
from headway.wire.rpc import MarkRecord
from headway.wire.runs import UsageAsk
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.happenings import Failed, Started
from headway_engine.store.forking import given
from headway_engine.store.records import Body, GivenMark, GivenPoint, NewRun
from support.factories import NS, a_checkpoint, a_once, a_step

if TYPE_CHECKING:
    from support.stores import Kit

ORIGIN, ROOT = new_run_id(), new_run_id()
STATE = b'{"turn":7}'


def body(text: bytes) -> Body:
    return Body(text, None, len(text), sha256(text).hexdigest())


async def a_fork(kit: Kit, *, point: bool = True, **fields: Any) -> NewRun:
    new = new_run_id()
    ask = BundleFork(new, ORIGIN, ROOT, "research", Given(), site="prod", **fields)
    large = BlobRef(f"{NS}/{new}/aa", 200_000, "aa")
    error = ErrorInfo("ValueError", "no")
    marks = [
        GivenMark(MarkRecord("ask-6", "step", "ask", value=Raw(b'"a"')), "", 6, 3),
        GivenMark(MarkRecord("ask-7", "step", "ask", value=Raw(b'"b"')), "", 7, 3),
        GivenMark(MarkRecord("mail", "once", "send", value=Raw(b"1")), "t-1", 9, 1),
        GivenMark(MarkRecord("far", "once", "send", ref=large, error=error), "t-2", 2, 200_000),
    ]
    at = GivenPoint(7, "turn-7", "ab12", body(STATE)) if point else None
    now = await kit.store.now()
    return given(NS, ask, TaskSpec("research"), now, body(b'{"a":1}'), at, marks, "me")


async def put(kit: Kit, new: NewRun) -> str:
    outcomes, _ = await kit.store.enqueue(NS, [new], {})
    return outcomes[0].outcome


async def test_it_goes_on_from_its_checkpoint_with_what_was_done_before(kit: Kit) -> None:
    await kit.ready()
    new = await a_fork(kit, tags=("demo",), priority=5)
    assert await put(kit, new) == "recorded"
    assert await put(kit, new) == "again"
    made = await kit.record(new.run.id)
    assert (made.ck, made.origin, made.root, made.parent) == (7, ORIGIN, ROOT, "")
    assert (made.queue, made.priority) == ("default", 5)
    detail = await kit.store.detail(NS, made.id)
    assert detail is not None
    assert [(c.number, c.name, c.epoch, c.schema) for c in detail.checkpoints] == [
        (7, "turn-7", 0, "ab12")
    ]
    assert detail.row.tags == ("demo",)
    (event,) = detail.events
    assert event.kind == "forked"
    assert event.data["kept"] == ["far", "mail"]
    assert (event.data["site"], event.data["by"]) == ("prod", "me")
    marks = await kit.store.mark_page(NS, made.id, "", 10)
    assert [(m.key, m.token, m.after, m.status) for m in marks] == [
        ("ask-6", "", 6, "done"), ("far", "t-2", 2, "done"), ("mail", "t-1", 7, "done"),
    ]  # fmt: skip
    assert marks[1].ref == BlobRef(f"{NS}/{made.id}/aa", 200_000, "aa")
    assert marks[1].error == ErrorInfo("ValueError", "no")
    found = await kit.store.state(NS, made.id, 0)
    assert found is not None
    assert found[1] == STATE


async def test_its_attempt_is_given_all_of_it(kit: Kit) -> None:
    session = await kit.ready()
    new = await a_fork(kit)
    await put(kit, new)
    claimed = await kit.claimed(new.run.id, session)
    assert (claimed.checkpoint, claimed.checkpoint_name, claimed.schema) == (7, "turn-7", "ab12")
    assert bytes(claimed.state) == STATE
    assert bytes(claimed.payload) == b'{"a":1}'
    assert [m.key for m in claimed.marks] == ["ask-6", "far", "mail"]
    (saved,) = await kit.store.save([a_checkpoint(claimed.run, 8)])
    assert saved.outcome == "ok"


async def test_from_the_start_only_once_marks_are_kept_and_cleared_ones_change_the_root(
    kit: Kit,
) -> None:
    new = await a_fork(kit, point=False, clear=("ma*",))
    await put(kit, new)
    made = await kit.record(new.run.id)
    assert (made.ck, made.root) == (0, made.id)
    assert [m.key for m in await kit.store.mark_page(NS, made.id, "", 10)] == ["far"]
    (event,) = await kit.store.events(NS, made.id, 0, 9)
    assert event.data["cleared"] == ["mail"]


async def test_marks_are_read_with_their_values_page_by_page(kit: Kit) -> None:
    run = await kit.attempt(await kit.ready())
    await kit.store.save([a_step(run, f"ask-{i}", after=0) for i in range(3)])
    await kit.store.save([a_once(run, "mail", "done", token="t-1")])
    await kit.store.save([SaveUsage(run.id, 1, [ModelUsage("a", 1, 2, 0.5)])])
    await kit.move(run.id, Started(1), Failed(1, "stop", ErrorInfo("E", "no"), retry=False))
    first = await kit.store.mark_page(NS, run.id, "", 2)
    rest = await kit.store.mark_page(NS, run.id, first[-1].key, 9)
    assert [m.key for m in (*first, *rest)] == ["ask-0", "ask-1", "ask-2", "mail"]
    assert all(bytes(m.value) for m in first)
    assert rest[-1].token == "t-1"
    assert await kit.store.mark_page("elsewhere", run.id, "", 9) == []
    (used,) = await kit.store.usage(NS, UsageAsk(by="model", run=run.id))
    assert used.cost_usd == 0.5
    assert await kit.store.usage(NS, UsageAsk(by="model", run=ORIGIN)) == []
