"""Dead letters, reviews and edited forks in a pseudo-terminal, on real servers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.wire import ErrorInfo
from headway.wire.fleet import TaskSpec
from headway.wire.reports import AttemptFailed
from headway.wire.saves import SaveCheckpoint, SaveMark
from support.engines import calling, config_for, running_engine
from support.jobs import moved
from support.pty_console import Terminal, headway
from support.stacks import agent_on, assigned, stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from support.engines import Caller
    from support.scripted_agent import ScriptedAgent

NOOP = TaskSpec(task="noop", max_attempts=1)


@asynccontextmanager
async def on_screen(url: str, **env: str) -> AsyncGenerator[Terminal]:
    """The console on this server."""
    env["HEADWAY_NATS_URL"] = url
    opened = await asyncio.to_thread(Terminal, headway("tui"), (120, 40), env, "/")
    try:
        await seen(opened, "all runs")
        yield opened
    finally:
        await asyncio.to_thread(opened.close)


@asynccontextmanager
async def dead_screen(url: str) -> AsyncGenerator[Terminal]:
    """At its fourth screen."""
    async with on_screen(url) as opened:
        await seen(opened, "live")
        opened.press("4")
        await seen(opened, "dead letters")
        yield opened


async def seen(opened: Terminal, text: str, since: int = 0) -> None:
    """Awaits `Terminal.seen`."""
    await asyncio.to_thread(opened.seen, text, 15.0, since)


async def failed(caller: Caller, agent: ScriptedAgent, error: str) -> str:
    """A run that has failed."""
    run = (await caller.enqueue()).run
    given = await assigned(agent, run)
    info = ErrorInfo(error, "no")
    await agent.report(AttemptFailed(run, given.epoch, "stop", info, retry=False))
    return run


async def interrupted(caller: Caller, agent: ScriptedAgent, key: str) -> str:
    """A run whose once block was interrupted: a person decides."""
    run = (await caller.enqueue()).run
    given = await assigned(agent, run)
    mark = SaveMark(run, given.epoch, key, "once", "send", "started", token="tok")
    await agent.save(mark)
    info = ErrorInfo("OnceAmbiguous", f"once({key!r}) was interrupted")
    await agent.report(AttemptFailed(run, given.epoch, "ambiguous", info, key=key, token="tok"))
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
            await seen(opened, "TOP CHECKPOINT")
            at = len(opened.output)
            await failed(caller, agent, "RateLimit")
            await seen(opened, "RateLimit", at)
            at = opened.press("R")
            await seen(opened, "A job of the engine, 5 a second.", at)
            at = opened.press("\r")
            await seen(opened, "job rj_", at)
            at = opened.press("x")
            await seen(opened, "$ headway ack --query", at)
            at = opened.press("\r")
            await seen(opened, "1 run acknowledged: OOMKilled", at)
            assert await dead(caller) == {"RateLimit"}
            # Somebody else does it: this screen hears.
            at = len(opened.output)
            assert await moved(caller, "ack", "failure:RateLimit") == 1
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


async def test_a_state_is_edited_in_a_real_editor_refused_by_the_schema_then_accepted(
    nats: str, database: str, tmp_path: Path
) -> None:
    editor, turn = tmp_path / "editor", tmp_path / "turn"
    turn.write_text("7")
    # The first time a number, which does not fit; then a text.
    editor.write_text(
        f'#!/bin/sh\nsed -i \'s/"model": [^,}}]*/"model": \'"$(cat {turn})"\'/\' "$1"\n'
        f"echo '\"haiku\"' > {turn}\n"
    )
    editor.chmod(0o755)
    schema = Raw(
        b'{"type":"object","required":["model"],"properties":{"model":{"type":"string"},'
        b'"turn":{"type":"integer"}}}'
    )
    spec = TaskSpec(task="noop", max_attempts=1, state_schema=schema)
    async with stack(nats, database, spec) as (_, caller, agent):
        await agent.start()
        run = (await caller.enqueue()).run
        given = await assigned(agent, run)
        state = b'{"model": "sonnet", "turn": 3}'
        digest = sha256(state).hexdigest()
        saved = SaveCheckpoint(run, given.epoch, 1, "one", digest, len(state), state=Raw(state))
        await agent.save(saved)
        info = ErrorInfo("RateLimitError", "429")
        await agent.report(AttemptFailed(run, given.epoch, "stop", info, retry=False))
        async with on_screen(nats, EDITOR=str(editor)) as opened:
            await seen(opened, "RateLimitError")
            at = opened.press("e")
            await seen(opened, "state.model: expected string, got integer", at)
            at = opened.press("\r")
            await seen(opened, "It fits the task's state type.", at)
            await seen(opened, "'state.model=\"haiku\"'", at)
            at = opened.press("\r")
            await seen(opened, "forked: ", at)
        (fork,) = (await caller.api("runs", {"query": f"origin:{run}"}))["runs"]
        answer = await caller.api("state", {"run": fork["run"]})
        assert answer["state"] == {"model": "haiku", "turn": 3}


async def test_what_nobody_answers_is_asked_for_again_until_an_engine_does(
    nats: str, database: str
) -> None:
    config = config_for(nats, database)
    async with calling(nats) as caller, on_screen(nats) as opened:
        async with running_engine(config), agent_on(nats) as agent:
            await caller.deploy(NOOP)
            await agent.start()
            run = await failed(caller, agent, "OOMKilled")
            opened.press("\x12")
            await seen(opened, "OOMKilled")
            at = opened.press("x")
            await seen(opened, f"$ headway ack {run}", at)
        at = opened.press("\r")
        await seen(opened, "ack: sent, not confirmed", at)
        async with running_engine(config):
            await seen(opened, f"{run} acknowledged", at)
            events = (await caller.api("run", {"run": run}))["events"]
            assert [e["kind"] for e in events].count("acknowledged") == 1
