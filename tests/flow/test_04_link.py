"""The command line's connection while its server goes away and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headway_ops import link, say
from support.wait import until

if TYPE_CHECKING:
    import pytest

    from headway.client import Client
    from headway_ops.local.nats import NatsServer


async def test_a_broken_connection_is_told_and_so_is_its_return(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(say, "tell", told.append)
    monkeypatch.setenv("HEADWAY_NATS_URL", nats_server.url)

    async def work(_: Client) -> list[str]:
        nats_server.kill()
        await until(lambda: told, 20)
        await nats_server.start()
        await until(lambda: len(told) > 1, 20)
        return list(told)

    broke, again = await asyncio.to_thread(link.with_client, work)
    assert nats_server.url in broke
    assert again == "connected again"
    # That we close it ourselves is no news.
    assert told == [broke, again]
