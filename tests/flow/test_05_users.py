"""The whole stack under the users that `headway nats config` writes: keys, accounts, TLS."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from headway_ops.local.process import Process
from support.guarded import Guarded, clean, guarded, headway
from support.servers import create_database, open_folder, running_postgres
from support.wait import until

if TYPE_CHECKING:
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


async def play(folder: Path, server: Guarded) -> None:
    """Deploy, run, watch, look, cancel, replay: everybody with credentials of its own."""
    app, web, ann = (server.environment(name) for name in ("app", "web", "ann"))
    quick = {"HEADWAY_REQUEST_TIMEOUT": "5"}
    done = await headway(folder, "deploy", "-m", "app.py", "--process", **ann)
    assert done.returncode == 0, done.stderr
    done = await headway(folder, "run", "count", "to=3", **app)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert "from 0" in done.stderr
    (run,) = re.findall(r"run (\w{26})", done.stderr)
    for who in (app, web, ann):
        done = await headway(folder, "logs", run, **who)
        assert done.stdout == "from 0\n", done.stderr
        done = await headway(folder, "watch", run, **who)
        assert done.returncode == 0, done.stderr
        assert "SUCCEEDED" in done.stdout.upper()
        done = await headway(folder, "result", run, **who)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    for words in (("ls",), ("show", run), ("agents",), ("queue", "ls")):
        done = await headway(folder, *words, **web)
        assert done.returncode == 0, (words, done.stderr)
    before = len(server.violations())
    # What would change something is refused by the broker, at once, and said with the right's name.
    for words, verb in (
        (("cancel", run), "cancel"),
        (("replay", "run", run), "replay"),
        (("queue", "pause", "default"), "queue-set"),
        (("agents", "drain", "a1"), "agent-drain"),
        (("deploy", "-m", "app.py", "--process"), "deploy"),
    ):
        done = await headway(folder, *words, **web, **quick)
        assert done.returncode == 4, (words, done.stdout, done.stderr)
        assert f"hw.api.default.web.{verb}" in done.stderr
        assert "lacks that right" in done.stderr
        assert "Whoever runs your NATS" in done.stderr
    done = await headway(folder, "enqueue", "count", "to=1", **web, **quick)
    assert done.returncode == 4, done.stderr
    assert "hw.in.default" in done.stderr
    assert len(server.violations()) > before
    # The operator: a new run from the old one, and one that is stopped.
    done = await headway(folder, "replay", "run", run, **ann)
    assert done.returncode == 0, done.stderr
    (again,) = re.findall(r"\b([0-9A-Z]{26})\b", (done.stdout + done.stderr).replace(run, ""))[:1]
    done = await headway(folder, "result", again, "--wait", **ann)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    done = await headway(folder, "enqueue", "forever", "--json", **app)
    assert done.returncode == 0, done.stderr
    (stopped,) = set(re.findall(r"\b([0-9A-Z]{26})\b", done.stdout))
    done = await headway(folder, "cancel", stopped, **app)
    assert done.returncode == 0, done.stderr
    done = await headway(folder, "result", stopped, "--wait", **ann)
    assert done.returncode == 1
    assert "cancel" in done.stderr.lower()


async def test_the_whole_stack_works_with_keys_accounts_and_tls() -> None:
    with open_folder("users") as folder:
        async with guarded(folder) as server, running_postgres() as postgres:
            (folder / "app.py").write_text(TASKS)
            engine, agent = Process("engine", folder / "e.log"), Process("agent", folder / "a.log")
            command = [sys.executable, "-m", "headway_ops"]
            try:
                engine.spawn([*command, "engine"], env={
                    **clean(),
                    **server.environment("engine"),
                    "HEADWAY_POSTGRES_DSN": await create_database(postgres),
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
