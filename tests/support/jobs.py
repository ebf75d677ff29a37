"""Jobs on real engines: started, until they are somewhere, on an engine that dies in one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import faults
from headway.replays.moving import meant, plans
from headway.replays.plans import name_of
from headway.wire import decode, decoder, encode
from headway.wire.replays import JobAsk, PlanStart
from headway_engine.assembly import Engine
from support.engines import calling, config_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.replays.moving import Meant, Verb
    from support.engines import Caller
    from support.scripted_agent import ScriptedAgent


async def counted(caller: Caller, verb: Verb, query: str = "", ids: tuple[str, ...] = ()) -> Meant:
    """The runs that the verb can move."""

    async def ask(name: str, body: Any, kind: Any) -> Any:
        return decode(decoder(kind), encode(await caller.api(name, body)))

    return await meant(ask, verb, query, ids)


async def started(caller: Caller, body: bytes) -> str:
    """The job of a plan, by its canonical bytes."""
    return (await caller.api("plan-start", PlanStart(name_of(body), Raw(body))))["job"]


async def moved(caller: Caller, verb: Verb, query: str) -> int:
    """Runs of a query that the verb has moved, by a job."""
    done = 0
    for body in plans(verb, await counted(caller, verb, query), query):
        done += (await reaches(caller, await started(caller, body), "done"))["row"]["succeeded"]
    return done


async def state(caller: Caller, job: str) -> str:
    """What it does now."""
    return (await caller.api("job", JobAsk(job, n=0)))["row"]["state"]


async def reaches(
    caller: Caller, job: str, *wanted: str, agent: ScriptedAgent | None = None
) -> dict[str, Any]:
    """The job with its items, once it is in one of these states."""

    async def there() -> bool:
        if agent is not None:  # its lease is short
            await agent.beat()
        return await state(caller, job) in wanted

    await until(there, 20, what=f"job {wanted}", every=0.05)
    return await caller.api("job", JobAsk(job))


async def dies(nats: str, database: str, start: Callable[[Caller], Awaitable[str]]) -> str:
    """An engine on which a job is started and that ends by an armed fault; the job."""
    engine = Engine(config_for(nats, database, lease=2.0, beat_every=0.6))
    task = asyncio.create_task(engine.run())
    async with calling(nats) as caller:
        await asyncio.wait_for(engine.started.wait(), 20)
        job = await start(caller)
    with contextlib.suppress(BaseExceptionGroup, faults.InjectedFault):
        await asyncio.wait_for(task, 20)
        pytest.fail("the fault was not reached")
    return job
