"""Rows of the README's table "What happens when" that no other flow test tells whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.client import Client
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from support import body_tasks as t
from support.engines import running_engine
from support.live import live, live_config
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


async def test_of_gathered_steps_those_with_a_record_answer_from_it_after_a_crash(
    nats: str, database: str, tmp_path: Path
) -> None:
    async with live(nats, database) as stack:
        run = await stack.start(t.b_gather, str(tmp_path))

        async def recorded() -> bool:
            steps = [e for e in await stack.events(run.id) if e.kind == "step"]
            return {e.data.get("key") for e in steps} == {"a", "b"}

        await until(recorded, 20, what="two of three steps are recorded", every=0.05)
        (tmp_path / "go").touch()
        assert await run.result(30) == ["a", "b", "c"]
        ran = {name: (tmp_path / name).read_text() for name in "abc"}
        assert ran == {"a": "x", "b": "x", "c": "xx"}
        assert "lost" in {e.kind for e in await stack.events(run.id)}


async def test_one_key_given_to_two_engines_at_once_is_one_run(nats: str, database: str) -> None:
    beside = live_config(nats, database, id="e2")
    async with live(nats, database, id="e1"), running_engine(beside):
        clients = [await Client.open(settings_for(nats)) for _ in range(8)]
        try:
            for n in range(10):
                items = [
                    EnqueueItem(new_run_id(), "b-echo", Raw(b'{"value":1}'), key=f"k{n}")
                    for _ in clients
                ]
                pairs = zip(clients, items, strict=True)
                handles: list[Any] = [
                    handle
                    for (handle,) in await asyncio.gather(*(c.submit([i], Any) for c, i in pairs))
                ]
                assert len({handle.id for handle in handles}) == 1
                assert sorted(handle.duplicate for handle in handles) == [False] + [True] * 7
                assert await asyncio.gather(*(h.result(30) for h in handles)) == [1] * 8
        finally:
            for client in clients:
                await client.close()
