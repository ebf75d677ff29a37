"""Callers of the storm: they enqueue, cancel, wait for results, and look at each answer.

The SDK writes down what they were promised (`HEADWAY_JOURNAL`); `headway verify` holds it against
what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from chaos.kit import tasks
from headway.errors import (
    HeadwayError,
    KeyConflict,
    NotReachable,
    QueueFull,
    Refused,
    RunFailed,
)
from headway.ids import new_run_id
from headway.wire.api import Done
from headway.wire.enqueue import EnqueueItem
from headway.wire.runs import RunsQuery
from headway.wire.steering import ResumeAsk

if TYPE_CHECKING:
    from chaos.kit.effects import EffectServer
    from headway.client import Client, RunHandle

SHARES = {
    "plain": 40, "alone": 12, "fails": 8, "child": 6, "nap": 5, "delay": 5, "cancel": 6,
    "key": 6, "again": 4, "conflict": 3, "crash": 5,
}  # fmt: skip
"""Kinds of runs, in percent."""
POLICIES = {"raise": 4, "rerun": 3, "check": 2, "skip": 1}
OVERRIDE_AFTER = 20.0
"""Seconds after healing until the operator decides although an older attempt is not confirmed dead,
as somebody does whose host is gone for good."""


class Note(NamedTuple):
    """An answer that a caller was given, besides those in the SDK's own journal."""

    op: str
    """cancel or resolve."""
    run: str
    word: str


class Load:
    """Enqueues `runs` runs over `seconds`; `finish` waits for all results."""

    def __init__(self, clients: list[Client], effects: EffectServer, seed: int) -> None:
        self._clients, self._effects = clients, effects
        self.notes: list[Note] = []
        self._rng = random.Random(seed)
        self._group: set[asyncio.Task[None]] = set()
        self.plans: dict[str, tuple[str, tasks.Plan]] = {}
        """By run: kind and plan, of all that were answered."""
        self.wrong: list[str] = []
        """What callers were told and should not have been."""
        self.poison: list[str] = []
        """Runs that failed since three agents in a row were lost with them before they began.

        So says the rule (DECISIONS B4), and a storm that kills agents all the time meets it now and
        then by chance.
        """
        self.unanswered: set[str] = set()
        self.said = Counter[str]()
        self.healed_at = float("inf")

    async def pour(self, runs: int, seconds: float, first: int = 0) -> None:
        """Enqueue them, evenly, each by a caller of its own; numbered from `first` on."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(first, first + runs):
            at = begun + (number - first) * seconds / runs
            await asyncio.sleep(max(0.0, at - loop.time()))
            kind = self._rng.choices(list(SHARES), list(SHARES.values()))[0]
            task = asyncio.create_task(self._one(number, kind, random.Random(self._rng.random())))
            self._group.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._group.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.wrong.append(f"a caller failed: {error!r}")

    async def finish(self, within: float) -> None:
        """Wait until every caller has its answer, or until the time is over."""
        if self._group:
            _, late = await asyncio.wait(list(self._group), timeout=within)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _one(self, number: int, kind: str, rng: random.Random) -> None:
        policy = rng.choices(list(POLICIES), list(POLICIES.values()))[0]
        plan = tasks.Plan(
            number, policy, pace=rng.uniform(0.02, 0.15),
            fails=rng.randint(1, 2) if kind == "fails" else 0,
            crash=rng.choice(["before", "after"]) if kind == "crash" else "",
            nap=rng.choice([0.2, 1.0, 2.0]) if kind == "nap" else 0.0,
            child=kind == "child",
        )  # fmt: skip
        task = "storm-alone" if kind in ("alone", "crash") else "storm"
        key = f"key-{number}" if kind in ("key", "conflict") else None
        delay = rng.uniform(0.5, 4.0) if kind == "delay" else 0.0

        def item(plan: tasks.Plan = plan) -> EnqueueItem:
            body = msgspec.Raw(msgspec.json.encode({"plan": plan}))
            return EnqueueItem(new_run_id(), task, body, key=key, delay=delay)

        first = item()
        clients = rng.sample(self._clients, 2)
        if kind == "key":
            both = await asyncio.gather(
                self._enqueue(clients[0], first, kind, plan),
                self._enqueue(clients[1], item(), kind, plan),
            )
            # Who was answered *accepted* hears with the result whose run it is.
            await asyncio.gather(*(self._result(h, kind) for h in both))
            if len({h.id for h in both}) != 1:
                self.wrong.append(f"key {key}: two runs, {both[0].id} and {both[1].id}")
            return
        else:
            handle = await self._enqueue(clients[0], first, kind, plan)
        if kind == "again":
            same = await self._enqueue(clients[1], first, kind, plan)
            if same.id != handle.id:
                self.wrong.append(f"run {handle.id} enqueued twice became {same.id} as well")
        # One that is only accepted does not hold the key yet: the other may get it.
        if kind == "conflict" and handle.recorded == "recorded":
            await self._conflict(clients[1], item(tasks.Plan(-1 - number)), handle.id, key or "")
        if kind == "cancel":
            await asyncio.sleep(rng.uniform(0.0, 0.8))
            await self._cancel(clients[1], handle.id)
        await self._result(handle, kind)

    async def _enqueue(
        self, client: Client, item: EnqueueItem, kind: str, plan: tasks.Plan
    ) -> RunHandle[Any]:
        """Until it is answered; the same run again after each silence."""
        while True:
            try:
                handle = (await client.submit([item]))[0]
            except (NotReachable, QueueFull):
                self.said["enqueue repeated"] += 1
                await asyncio.sleep(0.1)
                continue
            self.said[handle.recorded] += 1
            self.plans[handle.id] = self.plans[handle.enqueued_id] = kind, plan
            return handle

    async def _conflict(self, client: Client, item: EnqueueItem, holder: str, key: str) -> None:
        """Another payload under a live key must be refused."""
        while True:
            try:
                handle = (await client.submit([item]))[0]
            except KeyConflict:
                self.said["key conflict"] += 1
            except (NotReachable, QueueFull):
                await asyncio.sleep(0.1)
                continue
            else:
                if handle.recorded == "accepted":
                    # It is refused when intake sees it: its result says so.
                    with contextlib.suppress(KeyConflict):
                        await handle.result()
                        self.wrong.append(f"key {key} of {holder}: another payload ran too")
                    return
                self.wrong.append(f"key {key} of {holder}: another payload became {handle.id}")
            return

    async def _cancel(self, client: Client, run: str) -> None:
        while True:
            try:
                done = await client.cancel(run, "storm")
            except NotReachable:
                await asyncio.sleep(0.1)
                continue
            except Refused as e:
                self.said[f"cancel refused: {e.code}"] += 1
                return
            self.notes.append(Note("cancel", run, f"{done.outcome} {done.status}"))
            return

    async def _result(self, handle: RunHandle[Any], kind: str) -> None:
        # Its id may become another one: an enqueue that was only accepted may lose its key.
        mine = handle.enqueued_id
        self.unanswered.add(mine)
        try:
            value = await handle.result()
        except RunFailed as e:
            if e.error_type == "Poison":
                self.poison.append(f"run {handle.id} ({kind}): {e.error_message}")
            elif e.status != "cancelled" or kind != "cancel":
                self.wrong.append(f"run {handle.id} ({kind}) ended {e.status}: {e}")
        else:
            if (why := self._misfit(mine, value)) != "":
                self.wrong.append(f"run {handle.id} ({kind}): {why}")
        self.unanswered.discard(mine)
        self.plans.setdefault(handle.id, self.plans[mine])

    def _misfit(self, run: str, value: Any) -> str:
        """Why this is not the result that the plan must have; empty if it is."""
        _, plan = self.plans[run]
        place = msgspec.convert(value, tasks.Place)
        if (place.at, place.total) != (tasks.STEPS, tasks.chain(plan.number)):
            return f"the chain ended at {place}"
        if plan.child and place.child != place.total:
            return f"the child answered {place.child}"
        if place.effect != f"done-{plan.number}" and plan.policy != "skip":
            return f"once gave {place.effect!r}"
        return ""


class Operator:
    """Looks at REVIEW once a second and decides, by what the outside world saw."""

    def __init__(self, client: Client, load: Load, effects: EffectServer) -> None:
        self._client, self._load, self._effects = client, load, effects
        self.seen = Counter[str]()
        """REVIEW by reason; one run counts once for each time that it was decided."""
        self.refused = Counter[str]()
        self.overrides = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(HeadwayError):
                page = await self._client.runs(RunsQuery(status=("review",)))
                for row in page.runs:
                    await self._decide(row.run, row.reason)
            await asyncio.sleep(0.5)

    async def _decide(self, run: str, reason: str) -> None:
        ask = ResumeAsk(run)
        detail = await self._client.run(run)
        for mark in detail.marks:
            if mark.kind == "once" and mark.status != "done":
                done = self._effects.count("effect", mark.token) > 0
                ask.once[mark.key] = "done" if done else "rerun"
                number = msgspec.json.decode(bytes(detail.payload))["plan"]["number"]
                if done:
                    ask.values[mark.key] = msgspec.Raw(msgspec.json.encode(f"done-{number}"))
        try:
            answer = await self._client.resume(ask)
        except Refused as e:
            answer = Done(run, e.code, message=str(e))
        if answer.outcome == "refused" and time.time() - self._load.healed_at > OVERRIDE_AFTER:
            ask.override = True
            answer = await self._client.resume(ask)
        if answer.outcome != "ok":
            self.refused[f"{answer.outcome}: {answer.message[:60]}"] += 1
            return
        self.overrides += ask.override
        self.seen[reason or "?"] += 1
        decided = ",".join(f"{k}={v}" for k, v in ask.once.items())
        self._load.notes.append(Note("resolve", run, decided))
