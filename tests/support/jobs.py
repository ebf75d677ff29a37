"""Jobs on real engines: started, until they are somewhere, on an engine that dies in one."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import faults
from headway.replays.moving import meant, plans
from headway.replays.plans import name_of
from headway.wire import NOTHING, ErrorInfo, decode, decoder, encode, rpc
from headway.wire.replays import JobAsk, PlanStart
from headway.wire.reports import AttemptFailed
from headway.wire.saves import SaveCheckpoint, SaveMark
from headway_engine.assembly import Engine
from support.engines import calling, config_for
from support.stacks import assigned
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.replays.moving import Meant, Verb
    from support.engines import Caller
    from support.scripted_agent import ScriptedAgent


STATE = b'{"model":"sonnet","turn":1}'


async def failed_run(
    caller: Caller, agent: ScriptedAgent, state: bytes = STATE, mark: str = "mail"
) -> str:
    """A run with that state at checkpoint 1, a done once mark of that key, and an error."""
    word = await caller.enqueue(payload=b'{"x":1}')
    a = await assigned(agent, word.run)
    digest = sha256(state).hexdigest()
    ref, inline = None, Raw(state)
    if len(state) > 131_072:
        put = rpc.PutPart(word.run, a.epoch, "u", 0, True, state, digest)
        ref, inline = (await agent.ask("blob_put", put, rpc.PUT_ANSWER)).ref, NOTHING
    saved = await agent.save(
        SaveCheckpoint(word.run, a.epoch, 1, "one", digest, len(state), state=inline, ref=ref),
        SaveMark(word.run, a.epoch, mark, "once", "f", "done", "t-1", Raw(b"1"), after=1),
    )
    assert [o.outcome for o in saved] == ["ok", "ok"]
    error = ErrorInfo("ValueError", "no")
    await agent.report(AttemptFailed(word.run, a.epoch, "stop", error, retry=False))
    assert (await caller.end(word.run)).status == "failed"
    return word.run


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
