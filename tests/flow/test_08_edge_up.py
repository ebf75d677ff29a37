"""`headway up --edge` as a user runs it: nats-server, engine with agent, and nothing else.

What a run is promised holds there too: each part is killed while a run is in the middle of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest
from msgspec import Raw

from headway.client import Client
from headway.config import Settings
from headway.errors import NotReachable
from headway.ids import new_run_id, time_of
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import QueueAsk, QueueRow
from headway.wire.replays import ForkAsk
from headway.wire.runs import RunsQuery
from headway.wire.steering import ResumeAsk
from support.up import WITHIN, Up, begin, project, start
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from headway.client import RunHandle
    from headway.wire.events import Event

pytestmark = pytest.mark.timeout(120)

MORE = """
import os
import signal
from pathlib import Path

from headway import Retry, checkpoint, once, resume, task


@task(retry=Retry(max_attempts=3, min_delay="0.05s", max_delay="0.1s"))
async def flaky() -> int:
    tries = await resume(0, type=int)
    await checkpoint("tried", tries + 1)
    if tries < 2:
        raise ValueError("not yet")
    return tries


def charge(ledger: str) -> str:
    with Path(ledger).open("a") as file:
        file.write("charged\\n")
    os.kill(os.getpid(), signal.SIGKILL)


@task
async def pay(ledger: str) -> str:
    return await once("charge", charge, ledger)
"""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One stack for the tests of this file, which leave it running."""
    with project() as folder:
        (folder / "more.py").write_text(MORE)
        running = start(folder, "--edge", "--tasks", "app.py", "--tasks", "more.py")
        yield running
        if running.process.poll() is None:
            running.stop()


@asynccontextmanager
async def client_of(up: Up) -> AsyncGenerator[Client]:
    """A client of the stack."""
    async with await Client.open(Settings(nats_url=up.facts["nats_url"])) as client:
        yield client


async def enqueue(
    client: Client, task: str, /, *, delay: float = 0.0, **payload: Any
) -> RunHandle[Any]:
    item = EnqueueItem(new_run_id(), task, Raw(msgspec.json.encode(payload)), delay=delay)
    return (await client.submit([item]))[0]


async def story(handle: RunHandle[Any]) -> list[Event]:
    """All events of a run that has ended."""
    return [event async for event in handle.events()]


async def reached(handle: RunHandle[Any], kind: str, times: int) -> None:
    """The run is there, and goes on."""
    async for event in handle.events():
        times -= event.kind == kind
        if times == 0:
            return


async def test_nats_and_one_process_of_engine_and_agent_are_all_that_runs(up: Up) -> None:
    assert (up.facts["mode"], set(up.facts["pids"])) == ("edge", {"nats", "engine"})
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert not [p for p in family if "postgres" in p.name()]
    done = up.headway("run", "greet", "name=ana")
    assert (done.returncode, json.loads(done.stdout)) == (0, "hello ana"), done.stderr
    assert "greeting ana" in done.stderr, "its output came by LOGS"
    assert len(up.runs("status:succeeded task:greet")) == 1


async def test_doctor_says_what_holds_and_what_one_node_cannot(up: Up) -> None:
    done = up.headway("doctor", "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [f for f in findings if f["state"] == "bad" and f["name"] != "docker"]
    assert "postgres" not in {f["name"] for f in findings}
    assert [f["what"] for f in findings if f["name"] == "streams"] == ["as declared"]
    edge = [(f["state"], f["what"]) for f in findings if f["name"] == "edge"]
    (fsynced, fsync), (_, disk), (_, room), (_, limits) = edge
    assert (fsynced, "sync_interval: always" in fsync) == ("ok", True)
    assert "JetStream may take" in disk
    assert "of RUNS are used" in room
    assert "one node" in limits


async def test_a_retry_waits_for_its_time_and_a_delayed_run_for_its_own(up: Up) -> None:
    async with client_of(up) as client:
        flaky = await enqueue(client, "flaky")
        late = await enqueue(client, "greet", delay=0.4, name="bo")
        assert await flaky.result(WITHIN) == 2
        assert [e.kind for e in await story(flaky)].count("retrying") == 2
        assert await late.result(WITHIN) == "hello bo"
        at = {e.kind: e.at for e in await story(late)}
        # From its enqueue on: on a busy machine it may have been recorded later.
        assert at["starting"].timestamp() - time_of(late.id) / 1000 >= 0.4


async def test_a_paused_queue_holds_its_runs_and_a_query_finds_them(up: Up) -> None:
    async with client_of(up) as client:
        await client.api("queue-set", QueueAsk("slow", paused=True), QueueRow)
        held = await enqueue(client, "count", to=4)
        page = await client.runs(RunsQuery(query="status:queued queue:slow"))
        assert [row.run for row in page.runs] == [held.id]
        await client.api("queue-set", QueueAsk("slow", paused=False), QueueRow)
        assert await held.result(WITHIN) == [0, 4]
        again = await client.replay(held.id)
        assert await again.result(WITHIN) == [0, 4]
        fork = await client.fork(ForkAsk(held.id, new_run_id(), "#2"))
        assert await client.handle(fork.run).result(WITHIN) == [2, 4]


async def test_a_task_killed_inside_of_once_waits_for_a_person_who_decides(
    up: Up, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    async with client_of(up) as client:
        run = await enqueue(client, "pay", ledger=str(ledger))
        await reached(run, "review", 1)
        decided = ResumeAsk(run.id, {"charge": "done"}, {"charge": Raw(b'"by hand"')})
        await client.resume(decided)
        assert await run.result(WITHIN) == "by hand"
    assert ledger.read_text() == "charged\n"


async def test_a_task_on_a_new_queue_is_served_as_soon_as_it_is_written(up: Up) -> None:
    with (up.folder / "more.py").open("a") as file:
        file.write('\n\n@task(queue="fresh")\nasync def late() -> str:\n    return "served"\n')
    async with client_of(up) as client:

        async def known() -> bool:
            with suppress(NotReachable):  # engine and agent are started anew
                tasks = await client.api("tasks", None, list[dict[str, Any]])
                return "late" in {row["task"] for row in tasks}
            return False

        await until(known, WITHIN)
        run = await enqueue(client, "late")
        assert await run.result(WITHIN) == "served"


@pytest.mark.parametrize("victim", ["task", "engine", "nats"])
async def test_a_run_survives_kill_9_of(victim: str, up: Up, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with client_of(up) as client:
        run = await enqueue(client, "count", to=6, gate=str(gate))
        await reached(run, "checkpoint", 3)
        family = psutil.Process(up.process.pid).children()
        parts = {part_of(p): p for p in family}
        if victim == "task":
            for runner in parts["engine"].children(recursive=True):
                runner.kill()
        else:
            os.kill(parts[victim].pid, signal.SIGKILL)
        gate.touch()
        first, last = await run.result(WITHIN)
        assert (first, last) == (3 if victim == "task" else first, 6)
        assert first in (0, 3), "at its first line, or at its last checkpoint"
        events = await story(run)
        assert [e.n for e in events] == list(range(1, len(events) + 1))


def part_of(process: psutil.Process) -> str:
    words = process.cmdline()
    return "nats" if "nats-server" in words[0] else words[3]


async def test_all_is_there_again_without_the_projection(up: Up) -> None:
    async with client_of(up) as client:
        assert await (await enqueue(client, "greet", name="cy")).result(WITHIN) == "hello cy"
        before = {row.run: row.status for row in (await client.runs(RunsQuery(n=500))).runs}
        await client.api("queue-set", QueueAsk("slow", paused=True), QueueRow)
    assert before
    assert up.stop() == 0, up.error
    server = begin(up.folder)
    assert "made in 'edge' mode" in server.communicate(timeout=30)[1]
    shutil.rmtree(up.folder / ".headway" / "edge")
    again = start(up.folder, "--edge")
    try:
        async with client_of(again) as client:
            after = {row.run: row.status for row in (await client.runs(RunsQuery(n=500))).runs}
            assert after == before
            queues = await client.api("queues", None, list[QueueRow])
            assert [q.paused for q in queues if q.queue == "slow"] == [True]
    finally:
        assert again.stop() == 0, again.error
