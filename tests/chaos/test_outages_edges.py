"""Fault rows 53 and 58: a watcher stands still, an agent's credentials end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus
from headway.client import Client
from headway.config import Settings
from headway.follow import stored_logs
from headway.ids import new_run_id
from headway.wire import decode
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import LOG_CHUNK
from headway.wire.fleet import AgentRow, Deployment, TaskSpec
from headway_engine.agent import Agent, AgentConfig
from headway_engine.agent.config import WarmConfig
from headway_engine.agent.link import NatsLink
from headway_engine.config import BlobsConfig, Config, EngineConfig, PostgresConfig
from headway_engine.config import NatsConfig as EngineNats
from headway_engine.runtime.process import ProcessRuntime
from headway_ops.local.nats import NatsConfig
from support.engines import running_engine
from support.jwts import Operator
from support.proxy import Proxy
from support.servers import open_folder, running_nats
from support.site import TASKS, running_site
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from headway_ops.local.postgres import PostgresServer
    from support.site import Site

pytestmark = [pytest.mark.timeout(240)]

# --- row 53: a watcher stands still

LINES, WIDTH = 400, 8000
CHATTY = f"""
from __future__ import annotations

import time
from pathlib import Path

from headway import task


@task
def chatty(gate: str) -> int:
    print("ready", flush=True)
    while not Path(gate).exists():
        time.sleep(0.02)
    for n in range({LINES}):
        time.sleep(0.002)  # or the runner drops some, as of every flood
        print(f"{{n:06d}}", "x" * {WIDTH}, flush=True)
    print("the last line", flush=True)
    return {LINES}
"""


async def test_row_53_a_watcher_that_stands_still_is_cut_off_and_costs_nobody_anything(
    postgres_server: PostgresServer, migrated: str
) -> None:
    # As by default, but sooner: 64 MiB and 10 s would make this test long.
    small = NatsConfig(extra='max_pending: 1MB\nwrite_deadline: "1s"')
    async with running_site(
        server=postgres_server, template=migrated, tasks=CHATTY, specs=[TaskSpec("chatty")],
        nats_config=small, agent={"log_rate": 1 << 30, "log_burst": 1 << 30},
    ) as site, Proxy(site.nats.port) as path:  # fmt: skip
        path.narrow = True  # or the kernel's buffers take all of it, and nothing is cut off
        gate = site.folder / "gate"
        payload = Raw(json.dumps({"gate": str(gate)}).encode())
        (handle,) = await site.client.submit([EnqueueItem(new_run_id(), "chatty", payload)])
        run = handle.id
        ways = {"stopped": path.port, "other": site.nats.port}
        watchers = {name: watching(site, run, name, port) for name, port in ways.items()}
        try:
            for name in watchers:
                await until(lambda n=name: "ready" in said(site, n), 30, what=f"{name} follows")
            watchers["stopped"].send_signal(signal.SIGSTOP)
            path.blackhole()  # what is on its way to it is not read either
            gate.touch()
            assert await handle.result(60) == LINES
            log = site.nats.directory / "nats.log"
            await until(lambda: "Slow Consumer" in log.read_text(), 30, what="it is cut off")
            assert await asyncio.to_thread(watchers["other"].wait, 30) == 0
            path.heal()
            watchers["stopped"].send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(watchers["stopped"].wait, 60) == 0
        finally:
            for process in watchers.values():
                process.kill()
                process.wait()
        # What it missed was read from the store; engine and agent were never cut off.
        kept = [line async for _, _, data in stored_logs(site.client, run) for line in lines(data)]
        assert len(kept) > LINES / 2, "the flood was one"
        for name in watchers:
            assert said(site, name).splitlines() == kept, name
        for role in site.roles:
            assert "connection lost" not in role.log


def watching(site: Site, run: str, name: str, port: int) -> subprocess.Popen[bytes]:
    """`headway logs -f` as a process of its own, its output in a file."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    with (site.folder / name).open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "headway_ops", "logs", run, "--follow"],
            env=env | {"HEADWAY_NATS_URL": f"nats://127.0.0.1:{port}"}, cwd=site.folder, stdout=out,
        )  # fmt: skip


def lines(data: bytes) -> list[str]:
    """Of a chunk of LOGS."""
    return decode(LOG_CHUNK, data).lines


def said(site: Site, name: str) -> str:
    return (site.folder / name).read_text()


# --- row 58: an agent's credentials end


class Operated:
    """NATS in operator mode, an engine, and agents whose credentials are files."""

    def __init__(self, folder: Path, url: str, operator: Operator, client: Client) -> None:
        self.folder, self.url, self.operator, self.client = folder, url, operator, client
        self.agents: dict[str, tuple[Agent, bus.Connection]] = {}

    def credentials(self, name: str, **more: int) -> str:
        """A fresh file under that name; one that is there is replaced at once."""
        made = self.operator.user(self.folder / f"{name}.new", [">"], [">"], **more)
        return str(made.rename(self.folder / f"{name}.creds"))

    async def agent(self, name: str, queue: str, **more: int) -> bus.Connection:
        """Start one for a queue; `exp`: when its credentials end."""
        settings = Settings(nats_url=self.url, credentials=self.credentials(name, **more))
        nc = await bus.connect(settings, kind="agent", ident=("default", name))
        folder = self.folder / name
        config = AgentConfig(
            state_dir=str(folder), name=name, runtime="process", queues=(queue,),
            warm=WarmConfig(low=0, high=0), drain_timeout=0.2, kill_after=0.3, rpc_timeout=0.5,
        )  # fmt: skip
        made = Agent(config, NatsLink(nc, "default", name), ProcessRuntime(folder))
        self.agents[name] = made, nc
        await made.start()
        await asyncio.wait_for(made.ready(), 20)
        return nc


@asynccontextmanager
async def operated(database: str) -> AsyncGenerator[Operated]:
    operator = Operator()
    with open_folder("ops") as folder:
        async with running_nats(NatsConfig(extra=operator.config())) as server:
            all_rights = operator.user(folder / "engine.creds", [">"], [">"])
            config = Config(
                EngineNats(server.url, credentials=str(all_rights), fsynced=True),
                PostgresConfig(database),
                BlobsConfig("memory"),
                EngineConfig(lease=2.0, beat_every=0.5),
            )
            async with running_engine(config):
                client = await Client.open(
                    Settings(nats_url=server.url, user="tester", credentials=str(all_rights))
                )
                place = Operated(folder, server.url, operator, client)
                try:
                    yield place
                finally:
                    for agent, nc in place.agents.values():
                        await agent.stop()
                        await nc.close()
                    await client.close()


async def test_row_58_credentials_that_end_are_renewed_or_cost_the_lease(database: str) -> None:
    async with operated(database) as place:
        source = place.folder / "src"
        source.mkdir(mode=0o755)
        (source / "tasks.py").write_text(TASKS)
        specs = [TaskSpec("work", grace=0.3)]
        what = Deployment("v1", specs, modules=("tasks",), source=str(source), dev=True)
        await place.client.api("deploy", what, dict[str, Any])
        ledger = place.folder / "ledger"
        ends = int(time.time()) + 4
        renewed, _ = await asyncio.gather(
            place.agent("a1", "renewed", exp=ends), place.agent("a2", "ended", exp=ends)
        )

        async def begin(queue: str) -> Any:
            run = new_run_id()
            payload = {"ledger": str(ledger), "key": run, "steps": 60, "pace": 0.1}
            item = EnqueueItem(run, "work", Raw(json.dumps(payload).encode()), queue=queue)
            return (await place.client.submit([item]))[0]

        first, second = await asyncio.gather(begin("renewed"), begin("ended"))
        place.credentials("a1")  # before its old ones end: read at the reconnect
        await place.agent("a3", "ended")  # for the runs of whoever is locked out
        await until(lambda: renewed.stats["reconnects"] == 1 and renewed.is_connected, 20)
        assert await first.result(60) == 60
        assert await second.result(60) == 60
        kept, moved = [[e.kind for e in (await h.detail()).events] for h in (first, second)]
        assert "lost" not in kept, "a pause is no lost lease"
        assert (moved.count("lost"), moved.count("starting")) == (1, 2)
        effects = ledger.read_text().split()
        assert sorted(effects) == sorted([first.id, second.id])
        rows = await place.client.api("agents", None, list[AgentRow])
        assert {r.agent: r.alive for r in rows} == {"a1": True, "a2": False, "a3": True}
