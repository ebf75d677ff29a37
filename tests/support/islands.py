"""A hub and its sites: real nats-servers, joined as leaf nodes through proxies that cut them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.wire import ErrorInfo
from headway_engine.clock import ManualClock
from headway_engine.happenings import Failed, Finished, Started
from headway_engine.sites import following, homing, listing, obeying, settling
from headway_ops.edge.leaf import leaf_conf
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.ports import free_port
from support.factories import NS, a_checkpoint, an_enqueue
from support.proxy import Proxy
from support.servers import open_folder
from support.stores import EdgeKit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import pytest


class Island:
    """A site: its nats-server, the link to the hub, and its store."""

    def __init__(self, name: str, nats: NatsServer, link: Proxy, kit: EdgeKit) -> None:
        self.name, self.nats, self.link, self.kit = name, nats, link, kit
        self.session = 0

    async def ended(self, count: int = 1, *, fails: bool = False, **fields: Any) -> list[str]:
        """Runs that were executed here, each with one checkpoint."""
        made = await self.kit.enqueued(*(an_enqueue(**fields) for _ in range(count)))
        for run in made:
            open_one = (await self.kit.claimed(run.id, self.session, nonce=run.id)).run
            await self.kit.move(run.id, Started(open_one.epoch))
            await self.kit.store.save([a_checkpoint(open_one, 1)])
            end = (
                Failed(open_one.epoch, "error", ErrorInfo("ValueError", "no"), retry=False)
                if fails
                else Finished(open_one.epoch, Raw(b'"done"'), size=6)
            )
            await self.kit.move(run.id, end)
        return [run.id for run in made]

    async def events(self, run: str) -> list[Any]:
        """As the site has them."""
        return await self.kit.store.events(NS, run, 0, 1000)


class Islands:
    """The hub's server, and its sites by name."""

    def __init__(self, hub: NatsServer, leaf_port: int) -> None:
        self.hub, self.leaf_port = hub, leaf_port
        self.sites: dict[str, Island] = {}

    def __getitem__(self, site: str) -> Island:
        return self.sites[site]


@asynccontextmanager
async def islands(*sites: str) -> AsyncGenerator[Islands]:
    """A hub without an engine, and sites that have joined it."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder("islands"))
        port = free_port()
        hub = NatsServer(
            folder / "hub",
            NatsConfig(
                domain="hub",
                extra=f'leafnodes {{ listen: "127.0.0.1:{port}", no_advertise: true }}',
            ),
        )
        await hub.start()
        stack.callback(hub.kill)
        found = Islands(hub, port)
        for name in sites:
            found.sites[name] = await join(stack, folder, name, port)
        yield found


async def join(stack: AsyncExitStack, folder: Path, name: str, port: int, **leaf: str) -> Island:
    """A site that joins the hub whose leaf port this is; `leaf`: as of `leaf_conf`."""
    link = await stack.enter_async_context(Proxy(port))
    conf = leaf_conf(f"127.0.0.1:{link.port}", name, **leaf)
    nats = NatsServer(folder / name, NatsConfig(domain=name, extra=conf))
    await nats.start()
    stack.callback(nats.kill)
    kit = EdgeKit(nats, folder / f"{name}-store")
    kit.clock = ManualClock(datetime.now(UTC))
    await kit.start()
    stack.push_async_callback(kit.stop)
    island = Island(name, nats, link, kit)
    island.session = await kit.ready()
    return island


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of this test look over their links often, and are soon sure that one is cut."""
    monkeypatch.setattr(following, "CONTACT_EVERY", 0.2)
    monkeypatch.setattr(following, "CONTACT", 0.5)
    monkeypatch.setattr(homing, "EVERY", 0.1)
    monkeypatch.setattr(settling, "EVERY", 0.2)
    monkeypatch.setattr(obeying, "EVERY", 0.2)
    monkeypatch.setattr(listing, "SILENT", timedelta(seconds=1))
