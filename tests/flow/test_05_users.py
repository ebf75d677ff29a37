"""The whole stack under the users that `headway nats config` writes: keys, accounts, TLS."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from headway import bus, subjects
from headway.client import Client
from headway.errors import NotAllowed, NotReachable, RunFailed
from headway.ids import new_run_id
from headway.verbs import READ_VERBS
from headway.wire.enqueue import EnqueueItem
from headway_ops.access import rights
from headway_ops.local.process import Process
from support.databases import create_database
from support.engines import running_engine
from support.guarded import Guarded, clean, guarded, headway
from support.place import guarded_place
from support.servers import open_folder, running_postgres
from support.stacks import assigned
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

TASKS = """
import asyncio, os
from headway import checkpoint, once, resume, task

@task
async def count(to: int) -> int:
    n = await resume(0, type=int)
    print(f"from {n}")
    while n < to:
        n += 1
        await checkpoint(f"n-{n}", n)
    return await once("told", lambda: n)

@task
async def forever() -> int:
    await checkpoint("begun", 1)
    await asyncio.sleep(3600)
    return 1
"""


async def look(server: Guarded, user: str, run: str) -> None:
    """What everybody may: follow a run, read its output and its result."""
    async with await Client.open(server.settings(user)) as client:
        handle = client.handle(run)
        assert [e.target async for e in handle.events()][-1] == "SUCCEEDED"
        assert [log.chunk.lines async for log in handle.logs()] == [["from 0"]]
        assert await handle.result(10) == 3


async def try_to_change(server: Guarded, run: str) -> None:
    """The viewer: each verb that would change something is refused by the broker, at once."""
    async with await Client.open(server.settings("web")) as client:
        for verb in sorted({*rights.OPERATOR_VERBS} - {*READ_VERBS}):
            with pytest.raises(NotAllowed) as refused:
                await client.api(verb, None, dict[str, object])
            assert refused.value.subject == f"hw.api.default.web.{verb}"
        with pytest.raises(NotAllowed):
            await bus.publish_acked(client.connection, "hw.in.default", b"{}")


async def play(folder: Path, server: Guarded) -> None:
    """Deploy, run, look, cancel, replay: everybody with credentials of its own."""
    app, web, ann = (server.environment(name) for name in ("app", "web", "ann"))
    done = await headway(folder, "deploy", "-m", "app.py", "--process", **ann)
    assert done.returncode == 0, done.stderr
    done = await headway(folder, "run", "count", "to=3", **app)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert "from 0" in done.stderr
    (run,) = re.findall(r"run (\w{26})", done.stderr)
    await asyncio.gather(
        *(look(server, user, run) for user in ("app", "web", "ann")), try_to_change(server, run)
    )
    watched, listed = await asyncio.gather(
        headway(folder, "watch", run, **web), headway(folder, "ls", "--json", **web)
    )
    assert (watched.returncode, listed.returncode) == (0, 0), watched.stderr + listed.stderr
    assert "succeeded" in watched.stdout.lower()
    assert run in listed.stdout
    assert not [line for line in server.violations() if "client-ann" in line]
    # In words: which right is missing, and who has it.
    cancelled, paused = await asyncio.gather(
        headway(folder, "cancel", run, **web), headway(folder, "queue", "pause", "default", **web)
    )
    for done, verb, who in (
        (cancelled, "cancel", "clients and operators may do that"),
        (paused, "queue-set", "operators may do that"),
    ):
        assert done.returncode == 4, (done.stdout, done.stderr)
        assert f"NATS does not let user web publish on hw.api.default.web.{verb}" in done.stderr
        assert "Whoever runs your NATS can give it" in done.stderr
        assert who in done.stderr
    # The operator: a new run from the old one. The program: one that it stops.
    async with await Client.open(server.settings("ann")) as client:
        assert await (await client.replay(run)).result(10) == 3
    async with await Client.open(server.settings("app")) as client:
        (handle,) = await client.submit([EnqueueItem(new_run_id(), "forever", Raw(b"{}"))])
        async for event in handle.events():
            if event.kind == "checkpoint" or event.target == "RUNNING":
                break
        await handle.cancel("enough")
        with pytest.raises(RunFailed) as ended:
            await handle.result(10)
        assert ended.value.status == "cancelled"


async def test_a_reload_leaves_those_at_work_whose_users_stayed(database: str) -> None:
    async with (
        guarded_place() as place,
        running_engine(place.config(database)) as engine,
        place.caller("ann") as ann,
        place.caller("app") as app,
        place.agent("a1") as agent,
    ):
        await ann.deploy()
        await agent.start()
        await assigned(agent, (await app.enqueue()).run)
        wanted = place.server.wanted
        await place.server.rewrite(agents=(*wanted.agents, "default/a3"), clients=("other/shop",))
        assert [p.name for p in place.server.written.unused] == ["app.seed"]

        async def serves() -> bool:
            try:
                return (await ann.api("info"))["engine"] == engine.id
            except (NoRespondersError, NatsTimeout):
                return False

        await until(serves, what="the engine is back")
        # A new agent takes part, and what stood goes on.
        async with place.agent("a3") as fresh:
            await fresh.register()
            again = (await ann.enqueue()).run
            await assigned(agent, again)
        # Whoever was left out is cut off, and hears why.
        with pytest.raises(NotReachable):
            await bus.ask(app.nc, subjects.api("default", "app", "info"), timeout=1)
        assert "authorization" in app.nc.denied.lower()


@asynccontextmanager
async def truth(kind: str, folder: Path) -> AsyncGenerator[dict[str, str]]:
    """Where the engine keeps runs: the variables that say it."""
    if kind == "edge":
        yield {"HEADWAY_EDGE_FOLDER": str(folder / "edge")}
        return
    async with running_postgres() as postgres:
        yield {"HEADWAY_POSTGRES_DSN": await create_database(postgres)}


@pytest.mark.parametrize("kind", ["server", pytest.param("edge", marks=pytest.mark.nightly)])
async def test_the_whole_stack_works_with_keys_accounts_and_tls(kind: str) -> None:
    with open_folder("users") as folder:
        async with guarded(folder) as server, truth(kind, folder) as kept:
            (folder / "app.py").write_text(TASKS)
            engine, agent = Process("engine", folder / "e.log"), Process("agent", folder / "a.log")
            command = [sys.executable, "-m", "headway_ops"]
            try:
                engine.spawn([*command, "engine"], env={
                    **clean(),
                    **server.environment("engine"),
                    **kept,
                })  # fmt: skip
                agent.spawn([*command, "agent"], env={
                    **clean(),
                    **server.environment("a1"),
                    "HEADWAY_AGENT_STATE_DIR": str(folder / "s"),
                    "HEADWAY_AGENT_RUNTIME": "process",
                })  # fmt: skip

                async def alive() -> bool:
                    done = await headway(folder, "agents", "--json", **server.environment("web"))
                    return '"alive": true' in done.stdout

                await until(alive, 40, what="an agent is alive")
                ours = [line for line in server.violations() if "app" not in line]
                assert not ours, ours
                await play(folder, server)
                done = await headway(folder, "doctor", "--json", **server.environment("ann"))
                assert '"bad"' not in done.stdout, done.stdout
                assert "fsynced" in done.stdout
            except AssertionError as e:
                for name in ("e.log", "a.log"):
                    e.add_note((folder / name).read_text()[-3000:])
                e.add_note("\n".join(server.violations()))
                raise
            finally:
                await agent.stop()
                await engine.stop()
