"""Runs that tasks start, on the real stack: once each, whatever happens to the parent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from headway import bus
from headway.errors import KeyConflict, RunFailed
from headway.ids import child_run_id
from headway_engine.agent import Agent
from headway_engine.agent.link import NatsLink
from headway_engine.runtime.process import ProcessRuntime
from support import body_tasks as t
from support.live import live
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024


async def test_a_parent_killed_while_it_waits_goes_on_and_its_children_ran_once_each(
    nats: str, database: str, tmp_path: Path
):
    names = ["a", "b", "c"]
    async with live(nats, database) as stack:
        run = await stack.start(t.b_parent, str(tmp_path), names)
        await until(lambda: all((tmp_path / f"ran-{n}").exists() for n in names), 30)
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 9)
        await until(lambda: int((tmp_path / "pid").read_text() or pid) != pid, 30)
        (tmp_path / "go").touch()
        again, *results = await run.result(30)
        assert (again != pid, results) == (True, ["A", "B", "C"])
        ran = {n: (tmp_path / f"ran-{n}").read_text().split() for n in names}
        assert ran == {n: [child_run_id(run.id, run.id, f"@0.{i}")] for i, n in enumerate(names, 1)}
        for (child,) in ran.values():
            row = (await stack.client.run(child)).row
            assert (row.parent, row.status.lower()) == (run.id, "succeeded")
        detail = await run.detail()
        assert {(m.key, m.kind, m.fn) for m in detail.marks} == {
            (f"@0.{i}", "enqueue", "b-leaf") for i in (1, 2, 3)
        }
        told = [e.data["child"] for e in detail.events if e.data.get("verb") == "enqueue"]
        assert sorted(told) == sorted(c for (c,) in ran.values())


async def test_a_parent_hears_its_children_through_the_agent_that_took_it_over(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_parent, str(tmp_path), ["a", "b"])
        await until(lambda: all((tmp_path / f"ran-{n}").exists() for n in "ab"), 30)
        old = stack.agent
        live_before = set(old.attempts.live)
        await old.stop(drain=False)
        nc = await bus.connect(settings_for(nats), kind="agent", ident=("default", "a1"))
        agent = Agent(old.config, NatsLink(nc, "default", "a1"), ProcessRuntime(stack.folder / "s"))
        await agent.start()
        try:
            await agent.ready()
            assert set(agent.attempts.live) == live_before
            (tmp_path / "go").touch()
            pid, *results = await run.result(30)
            assert (str(pid), results) == ((tmp_path / "pid").read_text(), ["A", "B"])
            kinds = [e.kind for e in await stack.events(run.id)]
            assert (kinds.count("started"), kinds.count("lost")) == (1, 0)
        finally:
            await agent.stop()
            await nc.close()


async def test_another_payload_under_a_live_key_is_a_key_conflict(nats: str, database: str):
    async with live(nats, database) as stack:
        await stack.start(t.b_echo, 1, key="k")
        with pytest.raises(KeyConflict, match="belongs to run"):
            await stack.start(t.b_echo, 2, key="k")
        assert await stack.result(t.b_conflict, "k") == "KeyConflict"


async def test_calls_may_be_nested(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_deep, 3)
        chain = [line.split(" ") for line in await run.result(30)]
        assert [me for me, _ in chain[:-1]] == [parent for _, parent in chain[1:]]
        assert (chain[0], len({me for me, _ in chain})) == ([run.id, ""], 4)


@pytest.mark.parametrize("size", [100, 200 * KIB, 1500 * KIB])
async def test_payloads_and_results_of_children_may_be_large(nats: str, database: str, size: int):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_large_child, size) == size


async def test_a_plain_task_starts_children_too(nats: str, database: str):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_plain_parent, 7) == [8, 7]


async def test_a_failed_child_fails_its_parent_and_is_not_run_again(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_broken_child)
        with pytest.raises(RunFailed) as e:
            await run.result(30)
        child = child_run_id(run.id, run.id, "@0.1")
        assert e.value.error_type == "RunFailed"
        assert f"run {child} failed: ValueError: no good" in e.value.error_message
        detail = await stack.client.run(child)
        assert [e.kind for e in detail.events].count("started") == 1
        assert (await run.detail()).row.attempt == 2


async def test_what_the_engine_refuses_is_raised_in_the_parent(nats: str, database: str):
    async with live(nats, database) as stack:
        got = await stack.result(t.b_caller, "nobody", {})
        assert got == (
            "Refused: no task 'nobody' is deployed in namespace 'default': deploy it with"
            " `headway deploy` (or `headway up --tasks FILE` while developing)"
        )
        bad = {"folder": 1, "name": "x"}
        got = await stack.result(t.b_caller, "b-leaf", bad)
        assert got.startswith("BadPayload: payload.folder: expected string")
