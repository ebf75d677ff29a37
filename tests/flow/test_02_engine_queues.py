"""Names of queues: what nobody knows is refused, with what was meant, or made on purpose."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from headway.ids import new_run_id
from headway.wire.fleet import QueueAsk, TaskSpec
from headway.wire.steering import ReplayAsk
from support.scripted_agent import finish
from support.stacks import stack

if TYPE_CHECKING:
    from support.engines import Caller

GPU = TaskSpec("noop", queue="gpu-large")


async def refusal(caller: Caller, verb: str, body: object) -> str:
    answer = await caller.api_raw(verb, body)
    assert answer.error is not None
    assert answer.error.code == "unknown_queue"
    return answer.error.message


async def test_an_enqueue_for_a_queue_that_nobody_knows_is_refused(
    nats: str, database: str
) -> None:
    async with stack(nats, database, GPU) as (_, caller, agent):
        agent.script = finish()
        agent.queues = ("default", "gpu-large", "of-agent")
        word = await caller.enqueue(queue="gpu-lagre")
        assert (word.outcome, word.code) == ("rejected", "unknown_queue")
        assert "did you mean 'gpu-large'?" in word.reason
        await agent.start()
        for queue in ("of-agent", "default", None):  # an agent's, always there, the task's
            word = await caller.enqueue(queue=queue)
            assert word.outcome == "recorded"
            assert (await caller.end(word.run)).status == "succeeded"


async def test_a_setting_for_an_unknown_queue_needs_create(nats: str, database: str) -> None:
    async with stack(nats, database, GPU) as (_, caller, _):
        said = await refusal(caller, "queue-set", QueueAsk("gpu-larg", paused=True))
        assert "did you mean 'gpu-large'?" in said
        assert "headway queue limit gpu-larg 0 --create" in said
        assert "gpu-larg" not in {q["queue"] for q in await caller.api("queues")}
        row = await caller.api("queue-set", QueueAsk("gpu-larg", paused=True, create=True))
        assert row["paused"] is True
        # From now on it is known.
        await caller.api("queue-set", QueueAsk("gpu-larg", paused=False))
        assert (await caller.enqueue(queue="gpu-larg")).outcome == "recorded"


async def test_a_replay_into_an_unknown_queue_is_refused(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        word = await caller.enqueue()
        await caller.end(word.run)
        said = await refusal(caller, "replay", ReplayAsk(word.run, new_run_id(), queue="zzz"))
        assert "there are: default" in said
        again = await caller.api("replay", ReplayAsk(word.run, new_run_id(), queue="default"))
        assert again["outcome"] == "ok"


async def test_the_command_line_says_what_was_meant_and_creates_on_demand(
    nats: str, database: str
) -> None:
    async def headway(*arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headway_ops", *arguments,
            env=os.environ | {"HEADWAY_NATS_URL": nats},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, " ".join(out.decode().split())

    async with stack(nats, database, GPU):
        code, said = await headway("queue", "pause", "gpu-larg")
        assert code == 4, said
        assert "did you mean 'gpu-large'?" in said
        assert (await headway("queue", "pause", "gpu-larg", "--create"))[0] == 0
        assert (await headway("queue", "limit", "gpu-larg", "3"))[0] == 0
        code, said = await headway("enqueue", "noop", "--queue", "gpu-lage")
        assert code == 4, said
        assert "did you mean 'gpu-larg" in said
        code, said = await headway("enqueue", "noop", "--tag", " ")
        assert (code, "not blank" in said) == (2, True), said
