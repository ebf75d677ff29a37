"""Each crash point of RELIABILITY 5.3: the process dies there, another comes, nothing is lost.

Points are named places in the code (`headway.faults`). The points of a role are visited one after
the other under one load: the process dies at the first, comes back armed for the second, and so on;
in the normal run the most telling ones, `nightly` all, each alone too, and some hang or fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from support.site import Role, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session")]

ENGINE = (
    "engine.intake.received",
    "engine.intake.committed",
    "engine.intake.answered",
    "engine.dispatch.committed",
    "engine.dispatch.published",
    "engine.claims.committed",
    "engine.saves.committed",
    "engine.commits.committed",
    "engine.timers.found",
    "engine.relay.published",
    "engine.blobs.stored",
)
AGENT = (
    "agent.claims.pulled",
    "agent.claims.answered",
    "agent.claims.accepted",
    "agent.runner.spawned",
    "agent.run.sent",
    "agent.started.received",
    "agent.save.received",
    "agent.save.answered",
    "agent.end.received",
    "agent.end.answered",
)
COMMITTED = (
    "engine.intake.committed",
    "engine.dispatch.committed",
    "engine.claims.committed",
    "engine.saves.committed",
    "engine.commits.committed",
)
"""Done, and nobody was told: visited in each run."""
HANDED = ("agent.claims.answered", "agent.run.sent", "agent.save.answered", "agent.end.received")
TASK = (
    "sdk.checkpoint.sent",
    "sdk.checkpoint.saved",
    "sdk.step.ran",
    "sdk.once.started",
    "sdk.once.ran",
    "sdk.once.done",
    "runner.task.returned",
    "runner.end.answered",
)
UNKNOWN = {"sdk.once.started", "sdk.once.ran"}
"""Inside the block: nobody can tell whether the effect happened."""
CLIENT = ("sdk.enqueue.gathered", "sdk.enqueue.acked")
PATIENCE = 90.0
"""Seconds for what has to come at some time: on a busy machine processes take long to start, and
leases of 2.5 s end meanwhile, so that the same begins anew."""


@asynccontextmanager
async def load(site: Site) -> AsyncGenerator[None]:
    """Runs of all kinds, a few callers at once, until the block is left."""
    going = True

    async def caller(kinds: Sequence[str]) -> None:
        for kind in cycle(kinds):
            if not going:
                return
            await site.enqueue(kind)
            await asyncio.sleep(0.3)

    kinds = ("quick", "flaky", "work", "large", "quick")
    callers = [asyncio.create_task(caller(kinds[i:] + kinds[:i])) for i in range(5)]
    try:
        yield
    finally:
        going = False
        await asyncio.gather(*callers)


async def fires(site: Site, role: Role, rule: str) -> None:
    """The role runs with this rule until it fired; a crash has ended it then."""
    point, _, action = rule.partition("=")
    seen = site.folder / f"fired-{role.name}"
    seen.write_text("")
    role.start(HEADWAY_FAULTS=f"{rule}@1", HEADWAY_FAULTS_SEEN=str(seen))
    await until(seen.read_text, PATIENCE, what=f"{role.name} reaches {point}", every=0.02)
    assert seen.read_text().startswith(f"{point} {action.partition(':')[0]} ")
    if action == "crash":
        await until(lambda: not role.process.running, 10, what=f"{role.name} has died")


async def visit(site: Site, role: Role, points: Sequence[str]) -> None:
    """The role dies at each point in turn and is replaced in the end."""
    role.kill()
    for point in points:
        await fires(site, role, f"{point}=crash")
    role.start()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("engine", "agent"),
    [
        pytest.param(COMMITTED, HANDED, id="some"),
        pytest.param(
            ENGINE, AGENT, id="all", marks=[pytest.mark.nightly, pytest.mark.timeout(900)]
        ),
    ],
)
async def test_engine_and_agent_die_at_each_point_and_nothing_is_lost_or_doubled(
    site: Site, engine: Sequence[str], agent: Sequence[str]
) -> None:
    async with load(site):
        await asyncio.gather(
            visit(site, site.named("e1"), engine), visit(site, site.named("a1"), agent)
        )
        await site.ready(2)
    await once_each(site)


async def goes_on(site: Site, runs: int = 5) -> None:
    """So many more runs end: others do the work."""

    async def ended() -> int:
        rows = await site.rows("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL")
        return rows[0]["count"]

    before = await ended()

    async def more() -> bool:
        return await ended() >= before + runs

    await until(more, PATIENCE, what="others go on", every=0.05)


async def left(site: Site, agent: str) -> None:
    """The agent's lease ends, and none of its runs is its own any more."""

    async def none_left() -> bool:
        return not await site.rows(
            "SELECT FROM runs WHERE agent = $1 AND state IN ('STARTING', 'RUNNING', 'CANCELLING')",
            agent,
        )

    await until(none_left, PATIENCE, what=f"{agent} has lost its runs", every=0.05)


LEASE_LOST = {
    "the agent's lease ended",
    "the agent does not hold it any more",
    "its agent's session is over",
    "no agent took it over in time",
}
"""Why an attempt may have been cut off by an agent that died or was too busy for its lease."""


async def once_each(site: Site) -> None:
    """Every run ends, with one effect under one token.

    An agent that is not back within its short lease loses what it held; what was inside its effect
    then waits for a person (REVIEW), and it happened at most once. Nothing else may end there.
    """
    await site.verify(killed_inside_once=True)
    lines = [line.split() for line in site.ledger.read_text().splitlines()]
    effects = Counter(key for key, _ in lines)
    assert set(effects.values()) == {1}
    assert len({token for _, token in lines}) == len(lines)
    rows = await site.rows(
        "SELECT e.run, e.kind, e.data FROM events e JOIN runs r ON r.id = e.run"
        " WHERE e.run = ANY($1) AND r.state = 'REVIEW' ORDER BY e.run, e.n",
        sorted(site.acknowledged),
    )
    reviews: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in rows:
        reviews.setdefault(row["run"], []).append((row["kind"], json.loads(row["data"] or b"{}")))
    for events in reviews.values():
        kinds = [kind for kind, _ in events]
        started = max(i for i, (_, data) in enumerate(events) if data.get("status") == "started")
        assert "lost" in kinds[started:], events
        assert events[kinds.index("lost", started)][1]["why"] in LEASE_LOST, events
    assert len(reviews) < len(site.acknowledged) / 2


async def test_a_task_that_dies_at_any_point_goes_on_and_an_unknown_effect_is_said(
    site: Site,
) -> None:
    at = {point: await crash(site, f"{point}=crash@1") for point in TASK}
    again = await crash(site, "sdk.once.ran=crash@1", policy="rerun")
    source = site.folder / "src"
    (source / "arm").write_text("runner.run.received=crash@1")
    late = await site.enqueue("work")
    await until(lambda: not (source / "arm").exists(), 20, what="a runner took the trigger")
    site.acknowledged -= {again}
    await site.verify(killed_inside_once=True)
    states = dict(await site.rows("SELECT id, state FROM runs"))
    assert {p for p, run in at.items() if states[run] == "REVIEW"} == UNKNOWN
    assert (states[again], states[late]) == ("SUCCEEDED", "SUCCEEDED")
    effects = [line.split() for line in site.ledger.read_text().splitlines()]
    # It ran twice, as it said it may, under the same token.
    assert len({token for key, token in effects if key == again}) == 1
    assert sum(key == again for key, _ in effects) == 2
    seen = {line.split()[0] for line in (source / "seen").read_text().splitlines()}
    assert seen == {*TASK, "runner.run.received"}
    # Fault row 67: no retry is used for a runner that died before it said that it started.
    failures = await site.rows("SELECT failures FROM runs WHERE id = $1", late)
    assert failures[0]["failures"] == 0
    await decided(site, at["sdk.once.ran"], at["sdk.once.started"])


async def crash(site: Site, rules: str, policy: str = "raise") -> str:
    return await site.enqueue("work", rules=rules, policy=policy)


async def decided(site: Site, done: str, failed: str) -> None:
    """Operators say what happened, on the command line, two of them at once (fault row 66)."""
    words = ("--once", "effect=done", "--value", f'effect="{done}"')
    gave_up = site.headway("resume", failed, "--once", "effect=fail")
    ends = await asyncio.gather(*(site.headway("resume", done, *words) for _ in "12"), gave_up)
    assert sorted(e.returncode for e in ends[:2]) == [0, 3], [e.stderr for e in ends]
    assert ends[2].returncode == 0, ends[2].stderr

    async def over() -> bool:
        states = dict(await site.rows("SELECT id, state FROM runs"))
        return (states[done], states[failed]) == ("SUCCEEDED", "FAILED")

    await until(over, 20)
    effects = Counter(line.split()[0] for line in site.ledger.read_text().splitlines())
    assert (effects[done], effects[failed]) == (1, 0)


CALLER = """
import asyncio, sys
from headway.client import Client
from headway.config import Settings
from headway.wire.enqueue import EnqueueItem
from headway.ids import new_run_id
from msgspec import Raw

async def main(url, key, payload):
    client = await Client.open(Settings(nats_url=url, user="tester"))
    item = EnqueueItem(new_run_id(), "quick", Raw(payload.encode()), key=key)
    (handle,) = await client.submit([item])
    print(handle.id)
    await client.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_caller_that_dies_before_it_knows_asks_again_and_has_one_run(
    site: Site,
) -> None:

    async def call(point: str, rules: str) -> subprocess.CompletedProcess[str]:
        payload = json.dumps({"ledger": str(site.ledger), "key": point})
        env = os.environ | {"HEADWAY_FAULTS": rules}
        command = [sys.executable, "-c", CALLER, site.nats.url, point, payload]
        return await asyncio.to_thread(
            subprocess.run, command, env=env, capture_output=True, text=True, timeout=30,
            check=False,
        )  # fmt: skip

    died = await asyncio.gather(*(call(p, f"{p}=crash@1") for p in CLIENT))
    assert [d.returncode for d in died] == [-9, -9]
    again = await asyncio.gather(*(call(p, "") for p in CLIENT))
    site.acknowledged = {done.stdout.strip() for done in again}
    sql = "SELECT id, key, state FROM runs WHERE key = ANY($1) ORDER BY key"
    runs = await site.rows(sql, list(CLIENT))
    assert {r["id"] for r in runs} == site.acknowledged
    assert [r["key"] for r in runs] == sorted(CLIENT)

    async def over() -> bool:
        return {r["state"] for r in await site.rows(sql, list(CLIENT))} == {"SUCCEEDED"}

    await until(over, 20)
    effects = Counter(line.split()[0] for line in site.ledger.read_text().splitlines())
    assert effects == dict.fromkeys(CLIENT, 1)


# --- nightly: each alone, and other ways to go wrong


HANGS: dict[str, Any] = {
    "engine.intake.committed": "hang",
    "engine.claims.committed": "hang",
    "engine.saves.committed": "hang",
    "engine.intake.received": "error",
    "engine.saves.committed ": "error",
    "engine.commits.committed": "error",
    "engine.claims.committed ": "error",
    "engine.relay.published": "error",
    "engine.timers.found": "delay:2",
    "engine.dispatch.committed": "delay:2",
}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "rule",
    [
        *(f"{point}=crash" for point in ENGINE),
        *(f"{point.strip()}={action}" for point, action in HANGS.items()),
    ],
)
async def test_one_of_two_engines_goes_wrong_at_a_point(site: Site, rule: str) -> None:
    role = site.named("e1")
    role.kill()
    async with load(site):
        await fires(site, role, rule)
        await goes_on(site)
        role.kill()
        role.start()
    await once_each(site)


@pytest.mark.nightly
@pytest.mark.parametrize("point", AGENT)
async def test_one_of_two_agents_dies_at_a_point(site: Site, point: str) -> None:
    role = site.named("a1")
    role.kill()
    async with load(site):
        await fires(site, role, f"{point}=crash")
        await left(site, role.name)
        await goes_on(site)
        role.start()
    await site.verify(killed_inside_once=True)
