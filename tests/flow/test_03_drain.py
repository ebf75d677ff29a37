"""An operator takes an agent out and back in: command line, engine, agent, observers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headway import subjects
from headway.wire import decode, decoder
from headway.wire.events import AgentBeat
from support import body_tasks as t
from support.live import headway, live
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg

BEAT = decoder(AgentBeat)


async def test_a_drained_agent_takes_nothing_until_it_is_undone(nats: str, database: str):
    async with live(nats, database, beat_every=0.2) as stack:
        seen: list[bool] = []

        async def on_beat(msg: Msg) -> None:
            seen.append(decode(BEAT, msg.data).draining)

        beats = subjects.beat_agent("default", "a1")
        sub = await stack.client.connection.subscribe(beats, cb=on_beat)
        done = await headway(nats, "agents", "drain", "a1")
        assert done.returncode == 0, done.stderr
        assert "headway agents drain a1 --undo" in done.stderr
        await until(lambda: stack.agent.draining == "drain")
        await until(lambda: seen[-1:] == [True], what="observers see it")
        run = await stack.start(t.b_echo, 1)

        async def said() -> bool:
            return "drain" in (await run.detail()).why

        await until(said, 10, every=0.05)
        row = json.loads((await headway(nats, "agents", "--json")).stdout)
        assert (row["drain"], row["drain_by"].partition(":")[0]) == ("drain", "user")
        assert "draining" in (await headway(nats, "agents")).stdout
        unknown = await headway(nats, "agents", "drain", "nobody")
        assert unknown.returncode != 0
        assert "there is: a1" in unknown.stderr
        both = await headway(nats, "agents", "drain", "a1", "--now", "--undo")
        assert both.returncode == 2
        assert (await headway(nats, "agents", "drain", "a1", "--undo")).returncode == 0
        assert await run.result(20) == 1
        await sub.unsubscribe()


async def test_drained_now_a_run_leaves_without_a_retry_and_goes_on(nats: str, database: str):
    async with live(nats, database, beat_every=0.2) as stack:
        run = await stack.start(t.b_ticks, 1000)
        await stack.in_state(run, "running")
        assert (await headway(nats, "agents", "drain", "a1", "--now")).returncode == 0
        detail = await stack.in_state(run, "queued")
        assert detail.row.attempt == 0, "no retry is used"
        saved = detail.checkpoints[-1].number
        assert (await headway(nats, "agents", "drain", "a1", "--undo")).returncode == 0

        async def resumed() -> bool:
            started = [e for e in await stack.events(run.id) if e.kind == "started"]
            return len(started) == 2 and started[1].data["resumed_from"] == saved

        await until(resumed, 20, every=0.05)
        await run.cancel()
