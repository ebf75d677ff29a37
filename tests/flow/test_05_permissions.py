"""The users of ops/deploy/nats.conf: with passwords, what the parts need they may, no more."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headway import bus, subjects
from headway.errors import NotAllowed, NotReachable
from headway_engine.config import BlobsConfig, Config, NatsConfig, PostgresConfig
from headway_ops.access import conf, write
from headway_ops.local.ports import free_port
from headway_ops.local.process import Process, find_binary
from support.engines import Caller, running_engine
from support.guarded import headway
from support.scripted_agent import ScriptedAgent
from support.servers import open_folder, settings_for
from support.stacks import assigned

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CONF = Path(__file__).parents[2] / "ops" / "deploy" / "nats.conf"
SECRETS = {"HW_ENGINE": "e", "HW_AGENT_0": "a", "HW_APP": "c", "HW_OPERATOR": "o"}


class Broker:
    """A running nats-server with the file's users."""

    def __init__(self, folder: Path) -> None:
        self.port, self.log = free_port(), folder / "nats.log"

    def url(self, user: str, secret: str) -> str:
        """The address, as this user."""
        return f"nats://{user}:{secret}@127.0.0.1:{self.port}"

    async def connect(self, user: str, secret: str, kind: str, *ident: str) -> bus.Connection:
        """As this user."""
        return await bus.connect(settings_for(self.url(user, secret)), kind=kind, ident=ident)


@asynccontextmanager
async def broker(folder: Path) -> AsyncGenerator[Broker]:
    """The file as it is, but for addresses and the data's folder."""
    made = Broker(folder)
    text = CONF.read_text().replace("0.0.0.0:4222", f"127.0.0.1:{made.port}")
    text = text.replace("0.0.0.0:8222", f"127.0.0.1:{free_port()}")
    text = text.replace('"/data"', json.dumps(str(folder / "data")))
    text = text.replace("50GB", "10GB").replace(str(50 * 1024**3), str(10 * 1024**3))
    (folder / "nats.conf").write_text(text)
    process = Process("nats-server", made.log)
    process.spawn(
        [find_binary("nats-server", ""), "-c", str(folder / "nats.conf")],
        env={**os.environ, **SECRETS},
    )
    try:
        await process.until(
            lambda: made.log.exists() and "Server is ready" in made.log.read_text(), 10
        )
        yield made
    finally:
        process.kill()


def test_the_file_is_what_the_command_in_it_prints(tmp_path: Path) -> None:
    head, _, body = CONF.read_text().partition("\n\n")
    assert (
        "headway nats config DIR --passwords --agent agent-0 --client app --operator operator \\\n"
        "#     --store-dir /data --http 0.0.0.0:8222"
    ) in head
    made = write.write(
        write.Wanted(
            tmp_path, agents=("agent-0",), clients=("app",), operators=("operator",),
            passwords=True, server=conf.Server(store_dir="/data", http="0.0.0.0:8222"),
        )
    )  # fmt: skip
    assert made.conf.read_text() == body


async def test_engine_agent_and_people_work_with_passwords(database: str) -> None:
    with open_folder("perm") as folder:
        async with broker(folder) as server:
            config = Config(
                NatsConfig(server.url("engine", "e"), fsynced=True),
                PostgresConfig(database),
                BlobsConfig("memory"),
            )
            people = [
                await server.connect("operator", "o", "client", "operator"),
                await server.connect("app", "c", "client", "app"),
                await server.connect("agent-0", "a", "agent", "default", "agent-0"),
            ]
            try:
                operator, app = Caller(people[0], user="operator"), Caller(people[1], user="app")
                agent = ScriptedAgent(people[2], "agent-0")
                async with running_engine(config):
                    await app.open()
                    await operator.deploy()
                    await agent.start()
                    await assigned(agent, (await app.enqueue()).run)
                    await agent.stop()
                assert "Violation" not in server.log.read_text()
                # An app does not deploy, and speaks under no other name and in no other place.
                for subject in (
                    subjects.api("default", "app", "deploy"),
                    subjects.api("default", "operator", "ls"),
                    subjects.api("other", "app", "runs"),
                    subjects.ingest("other"),
                    "$JS.API.STREAM.INFO.RUNS",
                ):
                    with pytest.raises(NotAllowed, match="NATS does not let user app publish"):
                        await bus.ask(people[1], subject)
            finally:
                for nc in people:
                    await nc.close()


async def test_without_a_password_nobody_gets_in() -> None:
    with open_folder("perm") as folder:
        async with broker(folder) as server:
            settings = settings_for(f"nats://127.0.0.1:{server.port}")
            with pytest.raises(NotReachable, match="does not let us in"):
                await bus.connect(settings, kind="client", ident="nobody")
            assert "authentication error" in server.log.read_text()
            wrong = {"HEADWAY_NATS_URL": server.url("app", "guessed"), "HEADWAY_USER": "app"}
            done = await headway(folder, "ls", **wrong, HEADWAY_CONNECT_TIMEOUT="1")
            assert done.returncode == 5
            assert "Authorization Violation" in done.stderr
            assert "guessed" not in done.stderr
