"""A site joins a hub as the runbook says it: `nats config` at both, `edge join`, real processes."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from headway.client import Client
from headway.config import Settings, from_environment
from headway.errors import Refused
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.runs import RunsQuery
from headway.wire.sites import SitesPage
from headway_ops.local.ports import free_port
from headway_ops.local.process import Process, find_binary
from support.guarded import clean, headway
from support.proxy import Proxy
from support.servers import open_folder
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

TASKS = """
import asyncio
from headway import checkpoint, task

@task
async def count(to: int, size: int = 1) -> int:
    print(f"counting to {to}")
    await checkpoint("begun", "x" * size)
    return to

@task
async def forever() -> int:
    await checkpoint("begun", 1)
    await asyncio.sleep(3600)
    return 1
"""


def an_item(**payload: int) -> EnqueueItem:
    """A run of `count`."""
    return EnqueueItem(new_run_id(), "count", Raw(encode(payload)))


class Box:
    """One place: its folder of `headway nats config`, and its processes."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.conf = folder / "nats"
        self.nats_log = folder / "nats.log"

    def env(self, name: str) -> dict[str, str]:
        """The variables that were written for somebody."""
        lines = (self.conf / "env" / f"{name}.env").read_text().splitlines()
        return {k: v for k, _, v in (line.partition("=") for line in lines)}

    def settings(self, name: str) -> Settings:
        """Of a person."""
        return from_environment(self.env(name))

    async def command(self, *words: str, **env: str) -> str:
        """What a command prints; it must work."""
        self.folder.mkdir(exist_ok=True)
        done = await headway(self.folder, *words, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    async def deploy(self, user: str) -> None:
        """Register the tasks, once an engine answers."""
        (self.folder / "app.py").write_text(TASKS)
        words = ("deploy", "-m", "app.py", "--process")

        async def taken() -> bool:
            return (await headway(self.folder, *words, **self.env(user))).returncode == 0

        await until(taken, 40, what="the tasks are registered")

    async def config(self, *words: str) -> None:
        """`headway nats config`."""
        store = ("--store-dir", str(self.folder / "js"), "--max-store", "10GB")
        await self.command("nats", "config", str(self.conf), *store, *words)

    async def serve(self) -> None:
        """Its nats-server."""
        server = Process("nats-server", self.nats_log)
        server.spawn([find_binary("nats-server", ""), "-c", str(self.conf / "nats.conf")])
        self._stack.callback(server.kill)
        await server.until(lambda: "Server is ready" in self.said(), 10)

    def said(self) -> str:
        """By its nats-server."""
        return self.nats_log.read_text() if self.nats_log.exists() else ""

    def refused(self) -> list[str]:
        """What its nats-server has refused."""
        return [line for line in self.said().splitlines() if "Violation" in line]

    def part(self, name: str, env: str, **more: str) -> None:
        """An engine or an agent as a process."""
        process = Process(name, self.folder / f"{name}.log")
        process.spawn(
            [sys.executable, "-m", "headway_ops", name], env={**clean(), **self.env(env), **more}
        )
        # An agent that is killed leaves its warm runners behind, for as long as they wait for it.
        self._stack.push_async_callback(process.stop)


class Joined:
    """A hub and a site."""

    def __init__(self, hub: Box, site: Box, link: Proxy) -> None:
        self.hub, self.site, self.link = hub, site, link


@asynccontextmanager
async def joined(database: str) -> AsyncGenerator[Joined]:
    """As in the runbook, with users and TLS at both."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder("joining"))
        hub, site = Box(folder / "hub", stack), Box(folder / "site", stack)
        leaf, http = free_port(), free_port()
        await hub.config(
            "--self-signed", "--host", "127.0.0.1", "--site", "berlin", "--operator", "ann",
            "--listen", f"127.0.0.1:{free_port()}", "--leaf-listen", f"127.0.0.1:{leaf}",
        )  # fmt: skip
        own = (
            "--edge", "--server-name", "berlin", "--agent", "box", "--operator", "bo",
            "--listen", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{http}",
        )  # fmt: skip
        await site.config(*own)
        link = await stack.enter_async_context(Proxy(leaf))
        await site.command(
            "edge", "join", f"127.0.0.1:{link.port}", "--site", "berlin",
            "--credentials", str(hub.conf / "keys" / "site.berlin.seed"),
            "--ca", str(hub.conf / "tls" / "ca.pem"), "--conf", str(site.conf / "nats.conf"),
        )  # fmt: skip
        # Users that change later must not cut the site off.
        await site.config(*own)
        await hub.serve()
        await site.serve()
        hub.part(
            "engine", "engine", HEADWAY_POSTGRES_DSN=database, HEADWAY_ENGINE_SITES="berlin",
            HEADWAY_BLOBS_KIND="objects",
        )  # fmt: skip
        site.part(
            "engine", "engine", HEADWAY_EDGE_FOLDER=str(site.folder / "runs"),
            HEADWAY_ENGINE_SITE="berlin", HEADWAY_BLOBS_KIND="objects",
        )  # fmt: skip
        site.part(
            "agent", "agent.default.box", HEADWAY_AGENT_STATE_DIR=str(site.folder / "a"),
            HEADWAY_AGENT_RUNTIME="process",
        )  # fmt: skip
        await site.deploy("bo")
        yield Joined(hub, site, link)


async def test_a_site_with_keys_joins_a_hub_with_keys_and_both_reach_each_other(
    database: str,
) -> None:
    async with joined(database) as at:
        hub, site = at.hub, at.site
        own = await site.command("run", "count", "to=3", **site.env("bo"))
        assert own.startswith("3\n"), own
        given = await hub.command("run", "count", "to=5", "--site", "berlin", **hub.env("ann"))
        assert given.startswith("5\n"), given
        assert "counting to 5" in given, "its output came over the link"
        async with await Client.open(hub.settings("ann")) as ann:

            async def known() -> bool:
                page = await ann.runs(RunsQuery(query="site:berlin status:succeeded"))
                return len(page.runs) == 2

            await until(known, what="the hub knows the runs of the site")
            # A state that does not travel with the events is read over the link.
            (large,) = await ann.send("berlin", [an_item(to=7, size=300_000)])
            assert await large.result(20) == 7
            row, state = await ann.state(large.id)
            assert (row.size, len(state)) == (300_002, 300_002)
        assert not hub.refused()
        assert not site.refused()


@pytest.mark.nightly
async def test_a_run_for_a_site_says_that_there_is_no_link_and_goes_on_with_it(
    database: str,
) -> None:
    async with joined(database) as at:
        hub, site = at.hub, at.site
        ann = hub.env("ann")
        async with await Client.open(hub.settings("ann")) as client:
            (large,) = await client.send("berlin", [an_item(to=7, size=300_000)])
            assert await large.result(30) == 7
        at.link.cut()
        given = asyncio.ensure_future(
            hub.command("run", "count", "to=5", "--site", "berlin", "--site-ttl", "1h", **ann)
        )
        async with await Client.open(hub.settings("ann")) as client:

            async def kept() -> bool:
                (row,) = (await client.api("sites", None, SitesPage)).sites
                return not row.linked and row.waiting == 1

            await until(kept, 30, what="the hub says that there is no link")
            with pytest.raises(Refused, match="kept at site berlin: 300,002 bytes, no link"):
                await client.state(large.id)
            shown = await hub.command("show", large.id, **ann)
            assert "293 KiB" in shown
            assert "kept at site berlin" in shown
            assert "counting to 7" in await hub.command("logs", large.id, **ann)
            late = await headway(
                hub.folder, "run", "count", "to=6", "--site", "berlin", "--site-ttl", "1s", **ann
            )
            assert late.returncode == 5, late.stderr
            assert "its time is over, and site berlin was not heard of" in late.stderr
        at.link.heal()
        said = await given
        assert said.startswith("5\n"), said
        assert "no link to site berlin since" in said
        assert "site berlin has it" in said
        (run,) = re.findall(r"run (\w{26})", said)
        assert run in await hub.command("ls", "site:berlin status:succeeded", **ann)
        assert not [*hub.refused(), *site.refused()]
