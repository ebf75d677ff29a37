"""How soon runs go on: their process killed, their host lost, their engine dead when due."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from chaos.kit.effects import EffectServer
from chaos.kit.stack import Stack, lay_tasks
from chaos.storm import audit
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from support.servers import open_folder
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from chaos.kit.effects import Entry
    from headway.client import Client

    Say = Callable[[str], None]

AT_ONCE = 4
"""Runs that are killed at the same time: as many as a small warm pool has containers."""
GONE = 600.0
"""Seconds: longer than any measurement, so that what is killed stays away until it is told."""
DUE_IN = 8.0
"""Seconds until the retries are due."""


@asynccontextmanager
async def _running(**options: Any) -> AsyncGenerator[tuple[Stack, EffectServer, Client]]:
    with open_folder("figures") as folder:
        file = lay_tasks(folder / "tasks")
        stack = Stack(folder, **options)
        async with EffectServer(file.parent, folder / "ledger.jsonl") as effects:
            try:
                await stack.start()
                await stack.deploy(file)
                async with await stack.client(timeout=30.0) as client:
                    yield stack, effects, client
            finally:
                await stack.stop()


def _items(task: str, count: int, **payload: Any) -> list[EnqueueItem]:
    body = msgspec.Raw(msgspec.json.encode(payload))
    return [EnqueueItem(new_run_id(), task, body) for _ in range(count)]


def _begins(effects: EffectServer, run: str) -> list[Entry]:
    return [e for e in effects.entries if e.kind == "begin" and e.run == run]


async def task_killed(kills: int, say: Say) -> list[float]:
    """Seconds from SIGKILL of the task's process to the next attempt's user code."""
    took: list[float] = []
    async with _running(engines=1, agents=1, lease=15.0, slots=AT_ONCE) as (_, effects, client):
        while len(took) < kills:
            items = _items("beats", min(AT_ONCE, kills - len(took)), beats=600, pace=0.1)
            handles = await client.submit(items)
            for item in items:
                await until(lambda run=item.run: _saved(effects, run), 30, what="two checkpoints")
            killed: dict[str, float] = {}
            for item in items:
                os.kill(int(_begins(effects, item.run)[0].data["pid"]), signal.SIGKILL)
                killed[item.run] = time.time()
            for run, at in killed.items():
                await until(lambda run=run: len(_begins(effects, run)) > 1, 30, what="it goes on")
                took.append(_begins(effects, run)[1].at - at)
            await asyncio.gather(*(h.cancel() for h in handles))
            if len(took) % 20 < AT_ONCE:
                say(f"{len(took)} of {kills}")
    return took


def _saved(effects: EffectServer, run: str) -> bool:
    return any(e.kind == "saved" and e.run == run and e.number >= 2 for e in effects.entries)


async def agent_lost(rounds: int, say: Say) -> list[float]:
    """Seconds from the loss of a host (its agent and its tasks) to user code on the other one."""
    took: list[float] = []
    async with _running(engines=1, agents=2, lease=15.0, slots=16) as (stack, effects, client):
        for number in range(rounds):
            items = _items("beats", 12, beats=120, pace=0.5)
            handles = await client.submit(items)
            for item in items:
                await until(lambda run=item.run: _saved(effects, run), 60, what="two checkpoints")
            lost = stack.agents[number % 2]
            pids = {r.pid for r in stack.runners_of(lost)}
            there = [i.run for i in items if int(_begins(effects, i.run)[-1].data["pid"]) in pids]
            await stack.kill(lost, GONE)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            at = time.time()
            for run in there:
                await until(lambda run=run: len(_begins(effects, run)) > 1, 60, what="it goes on")
            took += [_begins(effects, run)[1].at - at for run in there]
            say(f"round {number + 1}: {len(there)} runs moved, slowest {max(took):.1f} s")
            await asyncio.gather(*(h.cancel() for h in handles))
            stack.heal()
            await until(lambda: stack.is_up(client), 60, what="both agents are up", every=0.1)
    return took


class Back(msgspec.Struct):
    """What came when the engine was back. Seconds."""

    last: float
    """From the start of its process to the last run's user code."""
    last_from_ready: float
    """... from its first word."""
    early: int
    wrong: int


async def due_while_dead(count: int, say: Say) -> Back:
    """Retries that become due while the only engine is dead."""
    async with _running(engines=1, agents=1, lease=15.0, shared_slots=128) as (stack, _, client):
        handles = await client.submit(_items("later", count, delay=DUE_IN))

        async def waiting() -> bool:
            return len(await _due(stack)) == count

        await until(waiting, 60, what=f"{count} runs wait for their retry", every=0.2)
        due = await _due(stack)
        left = max(due.values()) - time.time()
        say(f"the engine dies; the last is due in {left:.1f} s")
        await stack.kill("engine-1", GONE)
        await asyncio.sleep(max(0.0, left) + 1.0)
        stack.heal()
        await until(lambda: stack.parts["engine-1"].running, 5)
        back = time.time()
        await until(lambda: stack.is_up(client), 60, what="the engine answers")
        ready = time.time()
        begun = dict(
            zip([h.id for h in handles], await asyncio.gather(*(h.result() for h in handles)),
                strict=True)
        )  # fmt: skip
        stored = await audit.read(stack.postgres.dsn())
    claims = [sum(e.kind == "starting" for e in stored.events[run]) for run in begun]
    return Back(
        max(begun.values()) - back,
        max(begun.values()) - ready,
        sum(begun[run] < due[run] for run in begun),
        sum(n != 2 for n in claims) + count - len(begun),
    )


async def _due(stack: Stack) -> dict[str, float]:
    stored = await audit.read(stack.postgres.dsn())
    return {
        run: msgspec.convert(e.data["due_at"], type(e.at)).timestamp()
        for run, events in stored.events.items()
        for e in events
        if e.kind == "retrying"
    }
