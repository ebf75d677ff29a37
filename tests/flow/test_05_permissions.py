"""The users of ops/deploy/nats.conf: what they need they may, what they must not they cannot."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from headway import bus
from headway.errors import NotReachable
from headway_ops.local.ports import free_port
from headway_ops.local.process import Process, find_binary
from support.servers import create_database, open_folder, running_postgres, settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client as NatsClient

CONF = Path(__file__).parents[2] / "ops" / "deploy" / "nats.conf"
SECRETS = {"HW_ENGINE": "e", "HW_AGENT_0": "a", "HW_CLIENT": "c", "HW_OPERATOR": "o"}
TASKS = """
from headway import checkpoint, once, resume, task

@task
async def count(to: int) -> int:
    n = await resume(0, type=int)
    print(f"from {n}")
    while n < to:
        n += 1
        await checkpoint(f"n-{n}", n)
    return await once("told", lambda: n)
"""


@dataclass
class Broker:
    """A running nats-server with the file's users."""

    port: int
    monitor: int
    log: Path

    def url(self, user: str, secret: str) -> str:
        """The address, as this user."""
        return f"nats://{user}:{secret}@127.0.0.1:{self.port}"

    def violations(self) -> list[str]:
        """What the server has refused."""
        return [line for line in self.log.read_text().splitlines() if "Violation" in line]


@asynccontextmanager
async def broker(folder: Path) -> AsyncGenerator[Broker]:
    """The file as it is, but for addresses and the data's folder."""
    made = Broker(free_port(), free_port(), folder / "nats.log")
    text = CONF.read_text().replace("0.0.0.0:4222", f"127.0.0.1:{made.port}")
    text = text.replace("0.0.0.0:8222", f"127.0.0.1:{made.monitor}")
    text = text.replace("50GB", "10GB").replace('"/data"', json.dumps(str(folder / "data")))
    (folder / "nats.conf").write_text(text)
    process = Process("nats-server", made.log)
    command = [find_binary("nats-server", ""), "-c", str(folder / "nats.conf")]
    process.spawn(command, env={**os.environ, **SECRETS})

    async def ready() -> bool:
        return "Server is ready" in (made.log.read_text() if made.log.exists() else "")

    try:
        await until(ready, 10, what="nats-server is ready")
        yield made
    finally:
        process.kill()


async def headway(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One command, in the folder."""
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "headway_ops", *words],
        capture_output=True, text=True, cwd=folder, timeout=60, check=False,
        env={**clean(), **env},
    )  # fmt: skip


def clean() -> dict[str, str]:
    """The environment without a developer's own settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}


async def test_engine_agent_and_clients_work_with_their_own_users() -> None:
    with open_folder("perm") as folder:
        async with broker(folder) as server, running_postgres() as postgres:
            (folder / "app.py").write_text(TASKS)
            engine, agent = Process("engine", folder / "e.log"), Process("agent", folder / "a.log")
            command = [sys.executable, "-m", "headway_ops"]
            app = {"HEADWAY_NATS_URL": server.url("app", "c"), "HEADWAY_USER": "app"}
            operator = {
                "HEADWAY_NATS_URL": server.url("operator", "o"),
                "HEADWAY_USER": "operator",
            }
            try:
                engine.spawn([*command, "engine"], env={
                    **clean(),
                    "HEADWAY_NATS_URL": server.url("engine", "e"),
                    "HEADWAY_NATS_MONITOR_URL": f"http://127.0.0.1:{server.monitor}",
                    "HEADWAY_POSTGRES_DSN": await create_database(postgres),
                })  # fmt: skip
                agent.spawn([*command, "agent"], env={
                    **clean(),
                    "HEADWAY_NATS_URL": server.url("agent-0", "a"),
                    "HEADWAY_AGENT_NAME": "agent-0",
                    "HEADWAY_AGENT_STATE_DIR": str(folder / "s"),
                    "HEADWAY_AGENT_RUNTIME": "process",
                })  # fmt: skip

                async def alive() -> bool:
                    done = await headway(folder, "agents", "--json", **operator)
                    return '"alive": true' in done.stdout

                await until(alive, 40, what=(folder / "e.log").read_text())
                done = await headway(folder, "deploy", "-m", "app.py", "--process", **operator)
                assert done.returncode == 0, done.stderr
                done = await headway(folder, "run", "count", "to=3", **app)
                assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
                assert "from 0" in done.stderr
                (run,) = re.findall(r"run (\w{26})", done.stderr)
                done = await headway(folder, "logs", run, **app)
                assert done.stdout == "from 0\n", done.stderr
                done = await headway(folder, "doctor", "--json", **operator)
                bad = [line for line in done.stdout.splitlines() if '"bad"' in line]
                assert not bad
                assert "fsynced" in done.stdout
                (asked,) = server.violations()
                assert "$JS.API.INFO" in asked  # doctor: told as a note
                # An app does not deploy, nor speaks under another name.
                for words, env in (
                    (("deploy", "-m", "app.py", "--process"), app),
                    (("ls",), {**app, "HEADWAY_USER": "operator"}),
                    (("ls",), {**app, "HEADWAY_NAMESPACE": "other"}),
                ):
                    done = await headway(folder, *words, **env, HEADWAY_REQUEST_TIMEOUT="1")
                    assert done.returncode == 4, done.stdout + done.stderr
                    assert "lacks that right" in done.stderr
                assert len(server.violations()) >= 4
            except AssertionError as e:
                for name in ("e.log", "a.log"):
                    e.add_note((folder / name).read_text()[-3000:])
                e.add_note("\n".join(server.violations()))
                raise
            finally:
                await agent.stop()
                await engine.stop()


async def refused(nc: NatsClient, subject: str, heard: list[str]) -> bool:
    """Did the server refuse to let this user publish there?"""
    before = len(heard)
    await nc.publish(subject, b"{}")
    await nc.flush()
    await until(lambda: len(heard) > before, 5, what=f"{subject} is refused")
    return subject.lower() in heard[-1]


@pytest.mark.parametrize(
    ("user", "secret", "subjects"),
    [
        ("agent-0", "a", [
            "hw.rpc.default.agent-1.beat", "hw.rpc.other.agent-0.beat", "hw.run.default.X.ev",
            "hw.work.default.default", "hw.in.default", "hw.ctl.default.agent-1.X",
            "hw.api.default.operator.cancel", "$JS.API.STREAM.PURGE.RUNS", "hw.log.other.X.1",
        ]),
        ("app", "c", [
            "hw.in.other", "hw.api.default.operator.cancel", "hw.api.default.app.deploy",
            "hw.run.default.X.ev", "hw.rpc.default.agent-0.beat", "hw.reply.somebody.a",
            "$JS.API.STREAM.PURGE.RUNS", "$JS.API.STREAM.DELETE.INGEST",
        ]),
        ("operator", "o", ["hw.in.other", "hw.api.default.app.cancel", "hw.live.run.default.X.ev"]),
    ],
)  # fmt: skip
async def test_nobody_speaks_for_another(user: str, secret: str, subjects: list[str]) -> None:
    heard: list[str] = []

    async def on_error(error: Exception) -> None:
        heard.append(str(error).lower())

    with open_folder("perm") as folder:
        async with broker(folder) as server:
            nc = await nats.connect(server.url(user, secret), error_cb=on_error)
            try:
                for subject in subjects:
                    assert await refused(nc, subject, heard), heard
            finally:
                await nc.close()


async def test_a_client_cannot_aim_an_answer_of_the_server_at_a_stream() -> None:
    with open_folder("perm") as folder:
        async with broker(folder) as server:
            engine = await nats.connect(server.url("engine", "e"))
            app = await nats.connect(server.url("app", "c"))
            try:
                js: Any = engine.jetstream()
                await js.add_stream(name="RUNS", subjects=["hw.run.>"], allow_direct=True)
                await js.publish("hw.run.default.A.ev", b"a")
                body = b'{"last_by_subj":"hw.run.default.A.ev"}'
                await app.publish("$JS.API.DIRECT.GET.RUNS", body, reply="hw.run.default.B.ev")
                await app.flush()
                with pytest.raises((NatsTimeout, NoRespondersError)):
                    await app.request("$JS.API.STREAM.INFO.RUNS", b"", timeout=0.5)
                info = await js.stream_info("RUNS")
                assert info.state.messages == 1
            finally:
                await app.close()
                await engine.close()


async def test_without_a_password_nobody_gets_in() -> None:
    with open_folder("perm") as folder:
        async with broker(folder) as server:
            settings = settings_for(f"nats://127.0.0.1:{server.port}")
            with pytest.raises(NotReachable):
                await bus.connect(settings, kind="client", ident="nobody")
            assert "authentication error" in server.log.read_text()
            wrong = {"HEADWAY_NATS_URL": server.url("app", "guessed"), "HEADWAY_USER": "app"}
            done = await headway(folder, "ls", **wrong, HEADWAY_CONNECT_TIMEOUT="1")
            assert done.returncode == 5
            assert "Authorization Violation" in done.stderr
            assert "guessed" not in done.stderr
