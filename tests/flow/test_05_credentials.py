"""Who we are to NATS: keys, JWTs, certificates; and what is said when they do not fit."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from headway import bus, pull
from headway.config import Settings, from_environment
from headway.errors import NotAllowed, NotReachable
from headway_engine import streams
from headway_engine.config import load_config
from headway_ops.access import conf, write
from headway_ops.local.nats import NatsConfig
from headway_ops.local.ports import free_port
from support.guarded import guarded
from support.jwts import Operator
from support.place import guarded_place
from support.servers import open_folder, running_nats
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_credentials_file_of_operator_mode_opens_the_door_until_it_ends(
    tmp_path: Path,
) -> None:
    operator = Operator()
    async with running_nats(NatsConfig(extra=operator.config())) as server:
        allowed = ["hw.api.default.bob.>"], ["_INBOX.client.bob.>"]
        creds = operator.user(tmp_path / "bob.creds", *allowed, exp=int(time.time()) + 2)
        settings = Settings(nats_url=server.url, user="bob", credentials=str(creds))
        nc = await bus.connect(settings, kind="client", ident="bob")
        try:
            with pytest.raises(NotAllowed, match=r"user bob publish on hw\.in\.default"):
                await bus.ask(nc, "hw.in.default")
            # The server ends it; the file has a new one by then: it is read at the reconnect.
            fresh = operator.user(tmp_path / "new.creds", *allowed)
            fresh.replace(creds)
            await until(lambda: nc.stats["reconnects"] == 1 and nc.is_connected, 15)
            with pytest.raises(NotReachable, match="nobody answers"):
                await bus.ask(nc, "hw.api.default.bob.info")
        finally:
            await nc.close()
        stranger = Operator().user(tmp_path / "eve.creds", *allowed)
        with pytest.raises(NotReachable, match="does not let us in"):
            await bus.connect(
                replace(settings, credentials=str(stranger)), kind="client", ident="bob"
            )


async def test_a_server_that_is_not_trusted_is_said_by_its_certificate() -> None:
    with open_folder("tls") as folder:
        async with guarded(folder) as server:
            settings = server.settings("app")
            for wrong in (
                replace(settings, tls_ca=""),
                replace(settings, nats_url=settings.nats_url.replace("127.0.0.1", "127.0.0.2")),
            ):
                with pytest.raises(NotReachable) as said:
                    await bus.connect(
                        replace(wrong, connect_timeout=2.0), kind="client", ident="app"
                    )
                if not wrong.tls_ca:
                    assert "its TLS certificate is not trusted" in str(said.value)
                    assert "HEADWAY_TLS_CA" in str(said.value)
            # A URL without tls:// is no way around it: the server asks for it.
            plain = replace(settings, nats_url=settings.nats_url.replace("tls://", "nats://"))
            nc = await bus.connect(plain, kind="client", ident="app")
            assert nc.is_connected
            await nc.close()


async def test_pulling_across_accounts_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull, "_INBOX_REQUESTS", 10)
    port = free_port()
    async with guarded_place(f"127.0.0.1:{port}") as place:
        await streams.ensure_work_consumer(place.probe, "default", "default")
        nc = await bus.connect(
            place.settings("agent.default.a1"), kind="agent", ident=("default", "a1")
        )
        loop = pull.PullLoop(
            nc, "WORK", "w--default--default", want=lambda: 1, deliver=lambda _: None,
            expires=0.01, heartbeat=0.005,
        )  # fmt: skip
        running = asyncio.create_task(loop.run())
        try:
            most = 0

            def asked() -> bool:
                nonlocal most
                most = max(most, remembered(port))
                return loop._k >= 100  # pyright: ignore[reportPrivateUsage]

            await until(asked, 20, every=0.05, what="a hundred requests")
            # Two inboxes' worth, and what is just on its way; without their ends it were a hundred.
            assert most <= 40
        finally:
            loop.stop()
            await running
            await nc.close()


def remembered(port: int) -> int:
    """Ways back that the server keeps for the core account."""
    with urlopen(f"http://127.0.0.1:{port}/accountz?acc=HW", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return len(found["account_detail"].get("responses") or {})


def test_an_environment_file_names_what_its_part_needs(tmp_path: Path) -> None:
    made = write.write(
        write.Wanted(
            tmp_path, agents=("a1=default,gpu",), operators=("ann",), self_signed=True,
            hosts=("nats.example.org", "10.0.0.1"), server=conf.Server(listen="0.0.0.0:4333"),
        )
    )  # fmt: skip

    def variables(name: str) -> dict[str, str]:
        lines = made.environments[name].read_text().splitlines()
        return {k: v for k, _, v in (line.partition("=") for line in lines)}

    ann = from_environment(variables("ann"))
    assert (ann.nats_url, ann.user, ann.namespace) == (
        "tls://nats.example.org:4333", "ann", "default",
    )  # fmt: skip
    engine = load_config(None, variables("engine")).nats
    assert engine.answers_credentials != engine.credentials
    assert engine.fsynced
    agent = load_config(None, variables("a1") | {"HEADWAY_AGENT_STATE_DIR": "/x"}).agent
    assert agent is not None
    assert (agent.name, agent.ns, agent.queues) == ("a1", "default", ("default", "gpu"))
