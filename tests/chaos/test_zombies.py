"""Attempts that were given up and still live: fenced, ended, seen dead before a once is decided.

Real processes: an agent is stopped (SIGSTOP) for longer than its lease while its runners go on, or
dies with its host. Each effect has a gate, so a test says when the zombie's happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from headway import bus
from headway.wire.fleet import AgentRow
from headway.wire.steering import DrainAsk
from support.servers import settings_for
from support.site import LEASE
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.site import Role, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session")]


class Held:
    """Runs that are inside their effect, each with its gate."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.runs: dict[str, str] = {}

    async def begin(self, task: str = "held", **cases: dict[str, str]) -> None:
        """One run per case; returns when all are inside, and that is recorded.

        Under "rerun" a block does not wait for its started mark.
        """
        gates = self.site.folder / "gates"
        gates.mkdir(exist_ok=True)
        for name, options in cases.items():
            self.runs[name] = await self.site.enqueue(task, gates=str(gates), **options)
        inside = [gates / f"{run}.inside" for run in self.runs.values()]
        await until(lambda: all(p.exists() for p in inside), 30, what="inside their effects")

        async def marked() -> bool:
            rows = await self.site.rows(
                "SELECT run FROM events WHERE run = ANY($1) AND kind = 'once'",
                list(self.runs.values()),
            )
            return len(rows) >= len(self.runs)

        await until(marked, what="their started marks are recorded")

    def open(self, name: str) -> None:
        """Its effect happens now."""
        (self.site.folder / "gates" / f"{self.runs[name]}.go").touch()

    def effects(self) -> dict[str, int]:
        """How often each has happened."""
        lines = self.site.ledger.read_text().split("\n")[:-1]
        counts = Counter(line.split()[0] for line in lines)
        return {name: counts[run] for name, run in self.runs.items()}

    async def states(self) -> dict[str, tuple[str, str]]:
        """State and reason of each."""
        rows = await self.site.rows(
            "SELECT id, state, reason FROM runs WHERE id = ANY($1)", list(self.runs.values())
        )
        found = {r["id"]: (r["state"], r["reason"]) for r in rows}
        return {name: found[run] for name, run in self.runs.items()}

    async def reach(self, **wanted: tuple[str, str]) -> None:
        """Wait until they are in these states."""

        async def there() -> bool:
            states = await self.states()
            return all(states[name] == state for name, state in wanted.items())

        try:
            await until(there, 30, every=0.05)
        except AssertionError:
            raise AssertionError(f"{await self.states()}, not {wanted}") from None

    async def events(self, name: str) -> list[Any]:
        """Its events: kind and data."""
        rows = await self.site.rows(
            "SELECT kind, data FROM events WHERE run = $1 ORDER BY n", self.runs[name]
        )
        return [(r["kind"], json.loads(r["data"] or b"{}")) for r in rows]


@contextlib.asynccontextmanager
async def alone(site: Site, other: str) -> AsyncGenerator[None]:
    """While the block begins runs, the other agent drains: it takes none of them."""
    role = site.named(other)
    before = role.log.count("drains: takes nothing new")
    await site.client.api("agent-drain", DrainAsk(other), AgentRow)
    await until(lambda: role.log.count("drains: takes nothing new") > before, 20, every=0.05)
    try:
        yield
    finally:
        await site.client.api("agent-drain", DrainAsk(other, undo=True), AgentRow)


def stop(role: Role) -> None:
    psutil.Process(role.process.pid).suspend()


def go_on(role: Role) -> None:
    psutil.Process(role.process.pid).resume()


RERUN, SKIP = {"policy": "rerun"}, {"policy": "skip"}
DONE, NO = {"found": "done"}, {"found": "no"}
WAITS = ("REVIEW", "unconfirmed")
SUCCEEDED = ("SUCCEEDED", "")


async def test_no_once_is_decided_while_a_stopped_agents_attempt_is_inside(site: Site) -> None:
    agent = site.named("a1")
    held = Held(site)
    async with alone(site, "a2"):
        await held.begin(
            asks={}, late={}, rerun=RERUN, skip=SKIP, done=DONE, no=NO, cancelled=RERUN
        )
        stop(agent)
    try:
        await site.client.cancel(held.runs["cancelled"], "enough")
        # The lease ends; the other agent's attempts find the marks of attempts that may still run.
        await held.reach(
            asks=("REVIEW", "once"), late=("REVIEW", "once"), rerun=WAITS, skip=WAITS, done=WAITS,
            no=WAITS, cancelled=("CANCELLED", "enough"),
        )  # fmt: skip
        asked = held.runs["asks"]
        refused = await site.headway("resume", asked, "--once", "effect=rerun")
        assert refused.returncode == 4, refused.stdout
        assert "not confirmed dead" in refused.stderr
        detail = await site.client.run(held.runs["rerun"])
        assert "goes on by itself" in detail.why
        # A zombie's effect happens while nobody has decided: allowed, it was never done.
        held.open("late")
        await until(lambda: held.effects()["late"] == 1)
    finally:
        go_on(agent)
    # It learns that its session is over, ends its runners, and says that they are dead.
    await held.reach(skip=SUCCEEDED, done=SUCCEEDED, no=("RUNNING", ""), rerun=("RUNNING", ""))
    for name in ("rerun", "no"):
        held.open(name)
    for name in ("asks", "late"):
        said = "rerun" if name == "asks" else "done"
        held.open(name)

        async def taken(name: str = name, said: str = said) -> bool:
            done = await site.headway("resume", held.runs[name], "--once", f"effect={said}")
            return done.returncode == 0

        await until(taken, 60, every=0.2)
    await held.reach(asks=SUCCEEDED, late=SUCCEEDED, no=SUCCEEDED, rerun=SUCCEEDED)
    assert held.effects() == {
        "asks": 1, "late": 1, "rerun": 1, "skip": 0, "done": 0, "no": 1, "cancelled": 0,
    }  # fmt: skip
    for name in ("asks", "late", "rerun", "skip", "done", "no"):
        kinds = [kind for kind, _ in await held.events(name)]
        assert kinds.index("lost") < kinds.index("review") < kinds.index("exited")
        assert kinds.index("exited") < kinds.index("succeeded")
    tokens = {line.split()[1] for line in site.ledger.read_text().splitlines()}
    assert len(tokens) == 4


async def test_a_host_that_is_gone_is_overridden_or_confirmed_by_its_next_agent(site: Site) -> None:
    agent = site.named("a1")
    held = Held(site)
    async with alone(site, "a2"):
        await held.begin("held-alone", forced=RERUN, waits=RERUN)
        runners = psutil.Process(agent.process.pid).children(recursive=True)
        agent.kill()
    for runner in runners:
        with contextlib.suppress(psutil.NoSuchProcess):
            runner.kill()
    await held.reach(forced=WAITS, waits=WAITS)
    done = await site.headway("resume", held.runs["forced"], "--override")
    assert done.returncode == 0, done.stderr
    held.open("forced")
    await held.reach(forced=SUCCEEDED, waits=WAITS)
    overridden = [data for kind, data in await held.events("forced") if kind == "resumed"]
    assert overridden == [{"override": True}]
    agent.start()  # it finds its journal, and no runner: that is the confirmation
    held.open("waits")
    await held.reach(waits=SUCCEEDED)
    assert "exited" in [kind for kind, _ in await held.events("waits")]
    assert held.effects() == {"forced": 1, "waits": 1}


async def test_everything_that_was_ever_sent_may_come_again(site: Site) -> None:
    """Fault rows 30, 31: messages of INGEST and WORK, and requests of agents, once more."""
    nc = site.client.connection
    sent: list[tuple[str, bytes]] = []

    async def note(msg: Any) -> None:
        sent.append((msg.subject, msg.data))

    subscriptions = [
        await nc.subscribe(subject, cb=note)
        for subject in ("hw.in.>", "hw.work.>", "hw.rpc.*.*.claim.>", "hw.rpc.*.*.claim",
                        "hw.rpc.*.*.save.>", "hw.rpc.*.*.save", "hw.rpc.*.*.report.>",
                        "hw.rpc.*.*.report")
    ]  # fmt: skip
    for kind in ("quick", "flaky", "work", "large") * 2:
        await site.enqueue(kind)
    await site.verify()
    before = await snapshot(site)
    for subscription in subscriptions:
        await subscription.unsubscribe()
    kinds = {subject.split(".")[-1 if "rpc" not in subject else 4] for subject, _ in sent}
    assert {"claim", "save", "report"} <= kinds
    answers = 0
    async with contextlib.AsyncExitStack() as stack:
        agents: dict[str, bus.Connection] = {}
        for subject, body in sent:
            if not subject.startswith("hw.rpc."):
                await nc.publish(subject, body)
                await nc.publish(subject, body)
                continue
            name = subject.split(".")[3]
            if name not in agents:  # nobody is answered but under its own inbox
                settings = settings_for(site.nats.url)
                agents[name] = await bus.connect(settings, kind="agent", ident=("default", name))
                stack.push_async_callback(agents[name].close)
            answer = await agents[name].request(subject, body, timeout=20)
            answers += b"stale_epoch" in answer.data or b"refused" in answer.data
    assert answers
    # One more run goes all the way behind them.
    await site.enqueue("quick")
    await site.verify()
    after = await snapshot(site)
    assert {run: after[run] for run in before} == before


async def snapshot(site: Site) -> dict[str, Any]:
    """All that is stored of the acknowledged runs."""
    found: dict[str, Any] = {}
    for row in await site.rows(
        "SELECT id, state, n, epoch, ck, failures FROM runs WHERE id = ANY($1)",
        sorted(site.acknowledged),
    ):
        found[row["id"]] = tuple(row)
    effects = Counter(line.split()[0] for line in site.ledger.read_text().splitlines())
    return {run: (row, effects[run]) for run, row in found.items()}


async def test_what_stands_still_for_longer_than_a_lease_is_waited_for(site: Site) -> None:
    """Fault rows 4 and 11: an engine beside another one, and a runner, both under a live agent."""
    engine = site.named("e1")
    works = await site.work(2, steps=30, pace=0.1)
    run = await site.enqueue("work", steps=100, pace=0.1)
    await site.saved([*works, run], 1)
    rows = await site.rows("SELECT data FROM events WHERE run = $1 AND kind = 'started'", run)
    runner = psutil.Process(int(json.loads(rows[0]["data"])["container"]))
    runner.suspend()
    stop(engine)
    try:
        for _ in range(10):
            await site.enqueue("quick")
        await asyncio.sleep(LEASE * 1.5)
    finally:
        go_on(engine)
    for _ in range(5):
        await site.enqueue("quick")
    # The agent lives, and sees its process live: only a timeout or a cancel ends it.
    assert "lost" not in await site.kinds(run)
    await site.client.cancel(run, "it hangs")
    site.acknowledged.discard(run)
    await site.verify()
    for other in works:
        assert "lost" not in await site.kinds(other)

    async def ended() -> bool:
        return (await site.kinds(run))[-1] == "cancelled"

    await until(ended, 30, what="killed after its grace")
    assert not runner.is_running()
