"""A whole installation of real processes that a test may kill: servers, engines, agents, a load.

`verify` is what every outage must leave true: each acknowledged run has ended once, its effect
happened once, its events have no hole, and RUNS tells all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
from msgspec import Raw

from headway import subjects
from headway.client import Client
from headway.config import Settings
from headway.errors import HeadwayError
from headway.history import history
from headway.ids import new_run_id
from headway.wire import decode
from headway.wire.enqueue import EnqueueItem
from headway.wire.events import RUN_EVENTS
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine import config as settings_of
from headway_ops.local.process import Process
from headway_ops.verify import Ask, verify
from support.databases import create_database
from support.servers import running_nats, running_postgres
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headway_ops.local.nats import NatsConfig, NatsServer
    from headway_ops.local.postgres import PostgresConfig, PostgresServer

LEASE = 2.5
"""Seconds: outages here last longer."""
ENDS_WITHIN = 60.0

TASKS = """
from __future__ import annotations

import asyncio
import os

from headway import checkpoint, once, resume, task


def write(ledger: str, key: str) -> str:
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{key}\\n".encode())
    os.close(fd)
    return key


@task
async def work(ledger: str, key: str, steps: int, pace: float) -> int:
    n = await resume(0, type=int)
    while n < steps:
        n += 1
        await checkpoint(f"n-{n}", n)
        await asyncio.sleep(pace)
    await once("effect", write, ledger, key)
    return n


@task(isolation="shared")
async def quick(ledger: str, key: str) -> str:
    return await once("effect", write, ledger, key)
"""


class Role:
    """One `headway engine` or `headway agent` as a process of its own."""

    def __init__(self, site: Site, role: str, name: str, *arguments: str) -> None:
        self.role, self.name, self._arguments = role, name, arguments
        self.folder = site.folder / name
        self.folder.mkdir(mode=0o711)
        self.process = Process(name, self.folder / "log")
        self._config = self.folder / "headway.toml"
        self._site = site

    def start(self, **more: str) -> None:
        """Begin, with `more` in its environment; it waits for its servers by itself."""
        self._config.write_text(self._site.settings(self.name, self.folder))
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")} | more
        env["PYTHONUNBUFFERED"] = "1"
        command = [sys.executable, "-m", "headway_ops", self.role, "--config", str(self._config)]
        self.process.spawn([*command, *self._arguments], env=env)

    def kill(self) -> None:
        """SIGKILL; what it had started lives on."""
        self.process.kill()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.process.log.read_text(errors="replace") if self.process.log.exists() else ""


class Site:
    """The installation; made by `running_site`."""

    def __init__(self, folder: Path, nats: NatsServer, postgres: PostgresServer, dsn: str) -> None:
        self.folder, self.nats, self.postgres, self.dsn = folder, nats, postgres, dsn
        self.ledger = folder / "ledger"
        self.roles: list[Role] = []
        self.agent: dict[str, Any] = {}
        """More settings of the agents that start from now on."""
        self.client: Client
        self.acknowledged: set[str] = set()
        """Runs whose enqueue returned."""
        self.outcomes: Counter[str] = Counter()
        """How enqueues returned: recorded, accepted, or the name of an error."""
        self._begun = 0
        self.more: dict[str, dict[str, Any]] = {}
        """Settings of roles over the usual ones, by section."""
        self.ways: dict[str, str] = {}
        """Role's name to the URL by which it reaches NATS, if that is not the server's own."""
        self._load: asyncio.Task[None] | None = None

    def fresh(self) -> None:
        """Begin anew on what stands: a new ledger, nothing acknowledged."""
        self._begun += 1
        self.ledger = self.folder / f"ledger-{self._begun}"
        self.ledger.touch()
        self.acknowledged.clear()
        self.outcomes.clear()

    def named(self, name: str) -> Role:
        """The role of that name."""
        return next(role for role in self.roles if role.name == name)

    # --- roles

    def settings(self, name: str, folder: Path) -> str:
        """The role's TOML."""
        sections: dict[str, dict[str, Any]] = {
            "nats": {"url": self.ways.get(name, self.nats.url), "fsynced": True},
            "postgres": {"dsn": self.dsn},
            "engine": {"lease": LEASE, "beat_every": LEASE / 4, "id": name},
            "agent": {
                "name": name, "state_dir": str(folder / "s"), "runtime": "process",
                "rpc_timeout": 1.0, "drain_timeout": 0.5, "kill_after": 0.5, **self.agent,
            },
        }  # fmt: skip
        return "".join(
            f"[{section}]\n"
            + "".join(
                f"{k} = {json.dumps(v)}\n" for k, v in (values | self.more.get(section, {})).items()
            )
            for section, values in sections.items()
        )

    def role(self, role: str, name: str, *arguments: str) -> Role:
        """Start an engine or an agent, with more arguments on its command line."""
        made = Role(self, role, name, *arguments)
        self.roles.append(made)
        made.start()
        return made

    async def ready(self, agents: int = 1) -> None:
        """Return when an engine answers and so many agents are alive."""

        async def alive() -> bool:
            with contextlib.suppress(HeadwayError):
                rows = await self.client.api("agents", None, list[dict[str, Any]])
                return sum(bool(row.get("alive")) for row in rows) >= agents
            return False

        await until(alive, 30, what="agents are alive")

    async def deploy(self, tasks: str = TASKS, *specs: TaskSpec) -> None:
        """Register the tasks: a module's text, and how each is run."""
        source = self.folder / "src"
        source.mkdir()
        (source / "site_tasks.py").write_text(tasks)
        specs = specs or (TaskSpec("work"), TaskSpec("quick", isolation="shared"))
        what = Deployment("v1", list(specs), modules=("site_tasks",), source=str(source), dev=True)
        await self.client.api("deploy", what, Raw)

    # --- load

    async def enqueue(self, task: str, **parameters: Any) -> str:
        """One run; its id is noted once it was acknowledged."""
        run = new_run_id()
        payload = {"ledger": str(self.ledger), "key": run, **parameters}
        item = EnqueueItem(run, task, Raw(json.dumps(payload).encode()))
        try:
            (handle,) = await self.client.submit([item])
        except HeadwayError as e:
            # Unknown whether it was taken; the same item again would be the same run.
            self.outcomes[type(e).__name__] += 1
            return ""
        self.outcomes[handle.recorded] += 1
        self.acknowledged.add(run)
        return run

    async def work(self, count: int, steps: int = 40, pace: float = 0.1) -> list[str]:
        """Runs that save a checkpoint each `pace` seconds."""
        return [await self.enqueue("work", steps=steps, pace=pace) for _ in range(count)]

    @asynccontextmanager
    async def load(self, pause: float = 0.25) -> AsyncGenerator[None]:
        """Quick runs are enqueued all the time, a few at once."""
        going = True

        async def one() -> None:
            while going:
                await self.enqueue("quick")
                await asyncio.sleep(pause)

        tasks = [asyncio.create_task(one()) for _ in range(4)]
        try:
            yield
        finally:
            going = False
            await asyncio.gather(*tasks)

    # --- looking

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        """A look into the database."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            return await conn.fetch(sql, *args)
        finally:
            await conn.close()

    async def kinds(self, run: str) -> list[str]:
        """The kinds of a run's events, in order."""
        return [
            r["kind"]
            for r in await self.rows("SELECT kind FROM events WHERE run = $1 ORDER BY n", run)
        ]

    async def saved(self, runs: list[str], number: int = 2) -> None:
        """Return when each of the runs has saved so many checkpoints."""

        async def there() -> bool:
            found = await self.rows("SELECT ck FROM runs WHERE id = ANY($1)", runs)
            return len(found) == len(runs) and all(r["ck"] >= number for r in found)

        await until(there, 30, what="checkpoints", every=0.05)

    async def headway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of an operator."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
        env |= {"HEADWAY_NATS_URL": self.nats.url, "HEADWAY_POSTGRES_DSN": self.dsn}
        env |= {"HEADWAY_REQUEST_TIMEOUT": "2"}
        return await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "headway_ops", *arguments],
            cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    async def verify(
        self,
        *,
        stream: bool = True,
        killed_inside_once: bool = False,
        within: float = ENDS_WITHIN,
    ) -> None:
        """All acknowledged runs have succeeded, once, with all events; the checker finds nothing.

        `within`: seconds in which they have to end.
        `stream`: RUNS must have them too. `killed_inside_once`: runs whose effect may or may not
        have happened wait for a person (REVIEW), and are never done again by themselves.
        """
        runs = sorted(self.acknowledged)
        review = "REVIEW" if killed_inside_once else ""

        async def left() -> list[tuple[Any, ...]]:
            return [
                tuple(r)
                for r in await self.rows(
                    "SELECT x.id, r.state, r.reason, r.dispatch FROM unnest($1::text[]) AS x (id)"
                    " LEFT JOIN runs r ON r.id = x.id"
                    " WHERE r.ended_at IS NULL AND r.state IS DISTINCT FROM $2", runs, review,
                )
            ]  # fmt: skip

        async def none_left() -> bool:
            return not await left()

        try:
            await until(none_left, within, every=0.2)
        except AssertionError:
            found = await left()
            raise AssertionError(f"{len(found)} of {len(runs)} not ended: {found[:5]}") from None
        effects = Counter(line.split()[0] for line in self.ledger.read_text().splitlines())
        numbers: dict[str, int] = {}
        for row in await self.rows(
            "SELECT r.id, r.state, r.reason, r.n, array_agg(e.n ORDER BY e.n) AS numbers,"
            " count(*) FILTER (WHERE e.target IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT',"
            " 'EXPIRED')) AS ends FROM runs r JOIN events e ON e.run = r.id"
            " WHERE r.id = ANY($1) GROUP BY r.id", runs,
        ):  # fmt: skip
            assert row["numbers"] == list(range(1, row["n"] + 1)), tuple(row)
            if row["state"] == review:
                assert (row["reason"], row["ends"]) == ("once", 0), tuple(row)
                assert effects[row["id"]] <= 1
            else:
                assert (row["state"], row["ends"]) == ("SUCCEEDED", 1), tuple(row)
                assert effects[row["id"]] == 1
            numbers[row["id"]] = row["n"]
        assert set(numbers) == set(runs)
        if stream:
            # The first read is of all that the site ever did, and may take long by itself.
            untold = await self._untold(numbers)

            async def all_told() -> bool:
                nonlocal untold
                untold = await self._untold(untold)
                return not untold

            try:
                await until(all_told, 20, every=0.2)
            except AssertionError:
                some = list(untold.items())[:5]
                raise AssertionError(f"{len(untold)} runs not whole in RUNS: {some}") from None
        config = settings_of.Config(
            settings_of.NatsConfig(self.nats.url), settings_of.PostgresConfig(self.dsn)
        )
        report = await verify(Ask(config, nats=stream, second_look=0.2, patience=5.0))
        assert report.ok, report.explain()

    async def _untold(self, numbers: dict[str, int]) -> dict[str, int]:
        """Of these runs with their last events, those of which RUNS lacks some."""
        told: dict[str, set[int]] = {}
        for run in numbers if len(numbers) < 20 else "*":
            subject = f"hw.run.default.{run}.ev"
            async for m in history(self.client.connection, subjects.RUNS, subject):
                for e in decode(RUN_EVENTS, m.data).events:
                    told.setdefault(m.subject.split(".")[3], set()).add(e.n)
        # More may have come since: a run in REVIEW hears late that an older attempt is dead.
        return {r: n for r, n in numbers.items() if not told.get(r, set()) >= {*range(1, n + 1)}}

    async def aged_dispatches(self) -> None:
        """As if a minute had passed: batches that were not noted are left alone for 30 s."""
        await self.rows("UPDATE dispatches SET at = at - interval '1 minute'")

    def nats_process(self) -> psutil.Process:
        """The server's process."""
        return psutil.Process(self.nats.pid)

    def postgres_family(self) -> list[psutil.Process]:
        """The server and its children."""
        main = psutil.Process(self.postgres.pid)
        return [main, *main.children(recursive=True)]

    async def stop_postgres(self, how: int) -> None:
        """SIGINT: fast; SIGQUIT: immediate, which is a crash with recovery at the start."""
        process: Process = self.postgres._process  # pyright: ignore[reportPrivateUsage]
        await process.stop(how, within=20)


@asynccontextmanager
async def running_site(
    engines: int = 1,
    agents: int = 1,
    *,
    start: bool = True,
    server: PostgresServer | None = None,
    template: str = "template1",
    tasks: str = TASKS,
    specs: Sequence[TaskSpec] = (),
    nats_config: NatsConfig | None = None,
    postgres_config: PostgresConfig | None = None,
    **settings: dict[str, Any],
) -> AsyncGenerator[Site]:
    """Servers, engines `e1`.., agents `a1`.., the tasks deployed; all gone in the end.

    `server`: a Postgres that runs already and that nobody will hurt; `template`: a database in it
    that has the schema. `settings`: sections of the roles' TOML, over the usual ones.
    """
    folder = Path(tempfile.mkdtemp(prefix="hws"))
    folder.chmod(0o711)  # noqa: ASYNC240
    async with (
        running_nats(nats_config) as nats,
        running_postgres(postgres_config) if server is None else nullcontext(server) as postgres,
    ):
        site = Site(folder, nats, postgres, await create_database(postgres, template))
        site.more = settings
        site.client = await Client.open(
            Settings(nats_url=nats.url, user="tester", request_timeout=1.0)
        )
        try:
            if start:
                for i in range(engines):
                    site.role("engine", f"e{i + 1}")
                for i in range(agents):
                    site.role("agent", f"a{i + 1}")
                await site.ready(agents)
                await site.deploy(tasks, *specs)
            yield site
        except BaseException:
            for role in site.roles:
                print(f"--- {role.name}", "\n".join(role.log.splitlines()[-40:]), sep="\n")  # noqa: T201
            raise
        finally:
            await site.client.close()
            for role in site.roles:
                children = _family(role.process.pid)
                role.kill()
                for child in children:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            _end_runners(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []


def _end_runners(folder: Path) -> None:
    """Runners of agents that were killed have no parent of ours; their environment names us."""
    mark = os.fsencode(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if "headway.runner" not in process.cmdline():
                continue
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes():
                process.send_signal(signal.SIGKILL)
