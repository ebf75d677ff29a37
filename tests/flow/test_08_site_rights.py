"""Sites under the users of `headway nats config`: each reaches its own at the hub, no more."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw
from nats import errors as nats_errors

from headway import bus
from headway.client import Client
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.runs import RunsQuery
from headway.wire.sites import CommandsAsk, CommandsPage
from headway_engine.config import load_config
from headway_ops.access import conf, write
from headway_ops.access.plan import BadPlan
from headway_ops.local.ports import free_port
from support.engines import config_for, running_engine
from support.guarded import guarded
from support.islands import join, quick
from support.servers import open_folder, settings_for
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.msg import Msg

pytestmark = pytest.mark.timeout(120)
SITES = ("berlin", "oslo")


async def answered(nc: Any, subject: str, body: bytes = b"{}") -> bytes:
    """What is answered to a request; empty = nothing is."""
    try:
        return (await nc.request(subject, body, timeout=0.5)).data
    except (nats_errors.TimeoutError, nats_errors.NoRespondersError):
        return b""


async def test_a_site_reaches_its_own_at_the_hub_and_nothing_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder("rights"))
        port = free_port()
        server = conf.Server(leaf_listen=f"127.0.0.1:{port}")
        wanted = write.Wanted(folder / "nats", clients=("app",), sites=SITES, server=server)
        hub = await stack.enter_async_context(guarded(folder, wanted))
        berlin, oslo = [
            await join(
                stack, folder, name, port,
                seed=(folder / "nats" / "keys" / f"site.{name}.seed").read_text().strip(),
                ca=str(folder / "nats" / "tls" / "ca.pem"),
            )
            for name in SITES
        ]  # fmt: skip
        env = hub.environment("engine") | {
            "HEADWAY_POSTGRES_DSN": database,
            "HEADWAY_ENGINE_SITES": ",".join(SITES),
        }
        await stack.enter_async_context(running_engine(load_config(None, env)))
        for site in (berlin, oslo):
            config = config_for(site.nats.url, "", site=site.name)
            edge = site.kit.folder / "engine"
            await stack.enter_async_context(running_engine(config, edge=edge))
        client = await stack.enter_async_context(await Client.open(hub.settings("app")))
        made = [*(await berlin.ended(2)), *(await oslo.ended(1))]
        for name in SITES:
            body = Raw(encode({"topic": name}))
            (handle,) = await client.send(name, [EnqueueItem(new_run_id(), "research", body)])
            await until(lambda h=handle: h.recorded == "recorded", what=f"{name} has its run")
            made.append(handle.id)

        async def all_known() -> bool:
            page = await client.runs(RunsQuery(query="site:*"))
            return {row.run for row in page.runs} == set(made)

        await until(all_known, what="the hub knows the runs of both")
        assert not hub.violations()
        await forbidden(berlin.nats.url)
        for name in SITES:
            assert not (await client.api("commands", CommandsAsk(name), CommandsPage)).commands
        for run in made:
            kept = await client.api("commands", CommandsAsk(run=run), CommandsPage)
            assert {c.verb for c in kept.commands} <= {"enqueue"}
        assert {row.run for row in (await client.runs(RunsQuery())).runs} == set(made)


async def forbidden(url: str) -> None:
    """From within berlin, with all rights there."""
    heard: list[str] = []

    async def hear(msg: Msg) -> None:
        heard.append(msg.subject)

    nc = await bus.connect(settings_for(url), kind="client", ident="spy")
    try:
        await nc.subscribe("down.>", cb=hear)
        own = b'{"last_by_subj":"down.berlin.>"}'
        assert await answered(nc, "$JS.hub.API.DIRECT.GET.DOWN_berlin", own)
        other = b'{"last_by_subj":"down.oslo.>"}'
        asks = [
            ("$JS.hub.API.DIRECT.GET.DOWN_oslo", other),
            ("$JS.hub.API.DIRECT.GET.RUNS_oslo", b'{"seq":1}'),
            ("$JS.hub.API.DIRECT.GET.RUNS_berlin", b'{"seq":1}'),
            ("$JS.hub.API.STREAM.NAMES", b"{}"),
            ("$JS.hub.API.STREAM.INFO.INGEST", b"{}"),
            ("$JS.hub.API.STREAM.PURGE.DOWN_berlin", b"{}"),
            ("$JS.hub.API.STREAM.DELETE.RUNS_oslo", b"{}"),
            ("$JS.oslo.API.STREAM.INFO.RUNS", b"{}"),
            ("$JS.oslo.API.DIRECT.GET.RUNS", b'{"seq":1}'),
            ("down.oslo.run.id", b"{}"),
            ("down.berlin.run.id", b"{}"),
            ("sync.oslo.x", b"{}"),
        ]
        said = await asyncio.gather(*(answered(nc, subject, body) for subject, body in asks))
        reached = [s for (s, _), data in zip(asks, said, strict=True) if data]
        assert not reached
        # In its own DOWN there is nothing of others, whatever it asks for.
        body = await answered(nc, "$JS.hub.API.DIRECT.GET.DOWN_berlin", other)
        assert b"oslo" not in body
        assert set(heard) == {"down.oslo.run.id", "down.berlin.run.id"}, "what it said itself"
    finally:
        await nc.close()


def test_a_hub_is_no_server_of_tenants(tmp_path: Path) -> None:
    wanted = write.Wanted(tmp_path, namespaces=(), tenants=("a=x",), sites=("berlin",))
    with pytest.raises(BadPlan, match="a hub has no tenants"):
        write.tenants_of(wanted)
    with pytest.raises(BadPlan, match="named twice"):
        write.write(write.Wanted(tmp_path / "n", sites=("berlin", "berlin")))
