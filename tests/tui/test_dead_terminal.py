"""Dead letters and reviews in a pseudo-terminal, on real servers: by push, decided from there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from headway.wire import ErrorInfo, rpc
from headway.wire.commands import TaskSpec
from support.pty_console import Terminal, headway
from support.stacks import assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.engines import Caller
    from support.scripted_agent import ScriptedAgent

NOOP = TaskSpec(task="noop", max_attempts=1)


@asynccontextmanager
async def dead_screen(url: str, *arguments: str) -> AsyncGenerator[Terminal]:
    """The console on this server, at its fourth screen."""
    opened = await asyncio.to_thread(
        Terminal, headway("tui", *arguments), (120, 40), {"HEADWAY_NATS_URL": url}, "/"
    )
    try:
        await seen(opened, "live")
        opened.press("4")
        await seen(opened, "dead letters")
        yield opened
    finally:
        await asyncio.to_thread(opened.close)


async def seen(opened: Terminal, text: str, since: int = 0) -> None:
    """Awaits `Terminal.seen`."""
    await asyncio.to_thread(opened.seen, text, 15.0, since)


async def failed(caller: Caller, agent: ScriptedAgent, error: str) -> str:
    """A run that has failed."""
    run = (await caller.enqueue()).run
    given = await assigned(agent, run)
    info = ErrorInfo(error, "no")
    await agent.report(rpc.AttemptFailed(run, given.epoch, "stop", info, retry=False))
    return run


async def interrupted(caller: Caller, agent: ScriptedAgent, key: str) -> str:
    """A run whose once block was interrupted: a person decides."""
    run = (await caller.enqueue()).run
    given = await assigned(agent, run)
    mark = rpc.SaveMark(run, given.epoch, key, "once", "send", "started", token="tok")
    await agent.save(mark)
    info = ErrorInfo("OnceAmbiguous", f"once({key!r}) was interrupted")
    await agent.report(rpc.AttemptFailed(run, given.epoch, "ambiguous", info, key=key, token="tok"))
    return run


async def dead(caller: Caller) -> set[str]:
    return {c["failure"] for c in (await caller.api("dead", {}))["classes"]}


async def test_dead_letters_come_by_push_and_are_acknowledged_from_the_screen(
    nats: str, database: str
) -> None:
    async with stack(nats, database, NOOP) as (_, caller, agent):
        await agent.start()
        await failed(caller, agent, "OOMKilled")
        async with dead_screen(nats) as opened:
            await seen(opened, "OOMKilled")
            at = len(opened.output)
            await failed(caller, agent, "RateLimit")
            await seen(opened, "RateLimit", at)
            at = opened.press("x")
            await seen(opened, "$ headway ack --query", at)
            at = opened.press("\r")
            await seen(opened, "1 run acknowledged: OOMKilled", at)
            assert await dead(caller) == {"RateLimit"}
            # Somebody else does it: this screen hears.
            at = len(opened.output)
            page = await caller.api("bulk", {"verb": "ack", "query": "failure:RateLimit"})
            assert page["done"] == 1
            await seen(opened, "no dead letters", at)


async def test_an_interrupted_once_is_resolved_from_the_screen(nats: str, database: str) -> None:
    async with stack(nats, database, NOOP) as (_, caller, agent):
        await agent.start()
        async with dead_screen(nats) as opened:
            await seen(opened, "reviews  0")
            at = len(opened.output)
            run = await interrupted(caller, agent, "send-email")
            await seen(opened, "send-email", at)
            opened.press("\t")
            at = opened.press("m")
            await seen(opened, "what send-email gives, as JSON", at)
            at = opened.press("sent\r")
            await seen(opened, "no JSON", at)
            at = opened.press('{"id": 7}\r')
            await seen(opened, "send-email done", at)

            async def decided() -> Any:
                marks = (await caller.api("run", {"run": run}))["marks"]
                return marks if marks[0]["status"] == "done" else None

            await until(decided, what="the mark is done")
            events = (await caller.api("run", {"run": run}))["events"]
            resolved = [e for e in events if e["kind"] == "resolved"]
            assert [e["data"]["decision"] for e in resolved] == ["done"]
            await seen(opened, "reviews  0", at)
