"""What an operator sees of queues, agents and engines: pushed, merged, and cheap when idle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from headway import subjects
from headway.ids import new_run_id
from headway.wire import decode
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import AgentRow, Metrics, MetricsAsk, QueueAsk, QueueRow
from headway.wire.steering import DrainAsk
from headway_engine.store.memory import MemoryStore
from support.engines import calling, config_for, running_engine
from support.scripted_agent import finish
from support.stacks import stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.engines import Caller


class Beats:
    """Beats of the queues of a namespace, as they come."""

    def __init__(self) -> None:
        self.rows: list[QueueRow] = []
        self.came = asyncio.Event()

    async def hear(self, msg: Any) -> None:
        """One beat."""
        self.rows.append(msgspec.json.decode(msg.data, type=QueueRow))
        self.came.set()

    async def next(self, good: Callable[[QueueRow], object]) -> QueueRow:
        """The first row from now on that is `good`."""
        begun = len(self.rows)

        def found() -> QueueRow | None:
            return next((r for r in self.rows[begun:] if good(r)), None)

        await until(lambda: found() is not None, what="the beat of a queue")
        row = found()
        assert row is not None
        return row


async def beats_of(caller: Caller) -> Beats:
    beats = Beats()
    await caller.nc.subscribe(subjects.beat_queue("default"), cb=beats.hear)
    await caller.nc.flush()
    return beats


async def asked(caller: Caller, verb: str, body: Any, kind: Any) -> Any:
    answer = await caller.api_raw(verb, body)
    assert answer.error is None, answer.error
    return decode(msgspec.json.Decoder(kind), bytes(answer.data))


async def test_a_pause_is_pushed_with_who_and_why(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        beats = await beats_of(caller)
        waiting = asyncio.create_task(beats.next(lambda r: r.paused))
        await asyncio.sleep(0)
        await caller.api("queue-set", QueueAsk("default", paused=True, reason="llm bill"))
        row = await waiting
        assert (row.queue, row.paused_by, row.reason) == ("default", "user:tester", "llm bill")
        assert row.paused_at is not None
        assert row.at is not None
        word = await caller.enqueue()
        assert word.outcome == "recorded"
        row = await beats.next(lambda r: r.queued == 1)
        assert row.oldest_at is not None
        assert sum(f.came for f in row.flows) > 0
        refused = await caller.api_raw("queue-set", QueueAsk("default", limit=3, reason="x"))
        assert refused.error is not None
        assert refused.error.message == "reason: goes with paused"


async def test_an_engine_answers_for_all_engines(nats: str, database: str) -> None:
    async with (
        stack(nats, database, id="one") as (_, caller, agent),
        running_engine(config_for(nats, database, id="two")),
    ):
        agent.script = finish()
        await agent.start()
        for _ in range(6):
            await caller.end((await caller.enqueue()).run)

        async def started() -> dict[str, float]:
            found = await asked(caller, "metrics", MetricsAsk(), Metrics)
            return {e: sum(s.started for s in some) for e, some in found.engines.items()}

        async def all_told() -> bool:
            sums = await started()
            return sums.keys() == {"one", "two"} and sum(sums.values()) > 3

        await until(all_told, what="samples of both engines")
        found = await asked(caller, "metrics", MetricsAsk(), Metrics)
        last = found.engines["one"][-1]
        assert last.pool_size > 0
        waits = [s.wait_p95 for some in found.engines.values() for s in some]
        assert any(w is not None and w < 5 for w in waits)

        async def flows() -> float:
            rows = await asked(caller, "queues", None, list[QueueRow])
            (row,) = [r for r in rows if r.queue == "default"]
            assert row.depth
            return sum(f.went for f in row.flows)

        for _ in range(6):
            await caller.end((await caller.enqueue()).run)
        await until(_more_than(flows, 0.5), what="flows of all engines")


def _more_than(ask: Any, least: float) -> Any:
    async def look() -> bool:
        return await ask() > least

    return look


async def test_a_drain_keeps_its_reason(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        await caller.api("agent-drain", DrainAsk("a1", reason="new kernel"))
        (row,) = await asked(caller, "agents", None, list[AgentRow])
        assert (row.drain, row.drain_by, row.drain_reason) == ("drain", "user:tester", "new kernel")
        await caller.api("agent-drain", DrainAsk("a1", undo=True))
        (row,) = await asked(caller, "agents", None, list[AgentRow])
        assert (row.drain, row.drain_reason) == ("", "")


async def test_enqueues_that_wait_in_nats_are_counted_while_the_store_is_away(
    nats: str,
) -> None:
    store = MemoryStore("one")
    async with (
        running_engine(config_for(nats, "", id="one", roles=("intake", "api")), store=store),
        calling(nats) as caller,
    ):
        await caller.deploy()

        async def pending() -> int:
            found = await asked(caller, "metrics", MetricsAsk(60), Metrics)
            return found.engines["one"][-1].pending if "one" in found.engines else -1

        assert (await caller.enqueue()).outcome == "recorded"
        await until(_is(pending, 0), what="nothing waits")
        store.down = True
        runs = [new_run_id() for _ in range(3)]
        for run in runs:
            await caller.send(EnqueueItem(run, "noop"))
        await until(_is(pending, 3), what="what waits is counted")
        store.down = False
        for run in runs:
            await caller.word(run)
        await until(_is(pending, 0), what="nothing waits any more")


def _is(ask: Any, value: int) -> Any:
    async def look() -> bool:
        return await ask() == value

    return look
