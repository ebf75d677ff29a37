"""`ops/test --soak 30m [--rate 5] [--warm-up 5m]`: moderate load, and what grows meanwhile.

RSS, file descriptors, threads and asyncio tasks of engine and agent; rows of the tables that must
not grow with the number of runs. Each with its slope after the warm-up and the bound of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from chaos.kit.effects import EffectServer
from chaos.kit.stack import NS, Stack, lay_tasks
from chaos.soak.slope import blocks, slope
from chaos.storm.load import Load
from headway import subjects
from headway.retry import seconds
from headway.wire import Malformed, decode
from headway.wire.events import AGENT_BEAT, ENGINE_BEAT
from headway.wire.runs import RunsQuery
from support.servers import clean_environment, open_folder

if TYPE_CHECKING:
    from headway.client import Client

EVERY = 5.0
"""Seconds between two samples, on average: at even distances they would beat against what is done
every 30 s, and a saw's teeth would look like a slope."""
FILL = 150
"""Runs at once in the beginning: pools that grow with the load are as large as they get from then
on (connections to Postgres, and what they have prepared)."""
ROLES = ("engine-1", "agent-1")
BLOCK = 60.0
"""Seconds of samples that count as one."""
BOUNDED = {
    **dict.fromkeys(("outbox", "agents", "queues", "early_cancels", "purges", "liveness"), "true"),
    "dispatches": "at < hw_now() - interval '90 seconds'",
}
"""Tables whose size depends on what goes on, not on what has been; of the dispatches those beyond
their retention, for how many there are within it follows how busy the machine is."""
SMALL = {"rss_mb": 1.0, "fds": 1.0, "threads": 1.0, "tasks": 1.0, "rows": 10.0}
"""A rise of less than this an hour is taken for none, however sure it is."""


def looked_at(pid: int) -> dict[str, float]:
    """RSS in MB, descriptors and threads of a process, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "fds": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        "threads": float(fields["Threads"]),
    }


class Samples:
    """Series by name, sampled until cancelled."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._tasks: dict[str, float] = {}
        self.series: dict[str, list[tuple[float, float]]] = defaultdict(list)

    async def listen(self, client: Client) -> None:
        """Beats say how many asyncio tasks there are."""

        async def heard(msg: Any, role: str, decoder: Any) -> None:
            with contextlib.suppress(Malformed):
                if (count := decode(decoder, msg.data).counters.get("tasks")) is not None:
                    self._tasks[role] = count

        async def engine(msg: Any) -> None:
            await heard(msg, ROLES[0], ENGINE_BEAT)

        async def agent(msg: Any) -> None:
            await heard(msg, ROLES[1], AGENT_BEAT)

        await client.connection.subscribe(subjects.beat_engine(), cb=engine)
        await client.connection.subscribe(subjects.beat_agent(NS), cb=agent)

    async def run(self) -> None:
        """Sample."""
        db = await asyncpg.connect(self._stack.postgres.dsn())
        try:
            while True:
                now = time.monotonic()
                for role in ROLES:
                    values = looked_at(self._stack.parts[role].pid)
                    values |= {"tasks": self._tasks[role]} if role in self._tasks else {}
                    for what, value in values.items():
                        self.series[f"{role} {what}"].append((now, value))
                for table, which in BOUNDED.items():
                    # The names are ours: no test data reaches this text.
                    count = await db.fetchval(f'SELECT count(*) FROM "{table}" WHERE {which}')
                    self.series[f"{table} rows"].append((now, float(count)))
                await asyncio.sleep(random.uniform(0.5, 1.5) * EVERY)
        finally:
            await db.close()


def table(series: dict[str, list[tuple[float, float]]], warm_up: float) -> tuple[list[str], bool]:
    """Lines, and whether all is flat."""
    lines = [f"  {'what':<28}{'first':>10}{'last':>10}{'a hour':>12}{'+-':>10}"]
    flat = True
    for name, samples in sorted(series.items()):
        begun = samples[0][0] + warm_up
        rest = [(t, v) for t, v in samples if t >= begun]
        if len(rest) < 3:
            lines.append(f"  {name:<28} too few samples after the warm-up")
            flat = False
            continue
        means = blocks(rest, BLOCK)
        if len(means) < 3:
            means = rest  # a short one, to try it
        s = slope([t for t, _ in means], [v for _, v in means])
        hour, bound = s.per_second * 3600, s.bound * 3600
        rises = s.rises and hour - bound > SMALL[name.split(" ")[-1]]
        flat = flat and not rises
        lines.append(
            f"  {name:<28}{rest[0][1]:>10.1f}{rest[-1][1]:>10.1f}{hour:>12.2f}{bound:>10.2f}"
            f"{'  <- rises' if rises else ''}"
        )
    return lines, flat


async def soak(total: float, rate: float, folder: Path) -> Samples:
    """The load for so long, sampled."""
    file = lay_tasks(folder / "tasks")
    stack = Stack(folder, engines=1, agents=1, lease=15.0, say=say)
    async with EffectServer(file.parent, folder / "ledger.jsonl") as effects:
        try:
            await stack.start()
            await stack.deploy(file)
            client = await stack.client()
            samples, load = Samples(stack), Load([client, client], effects, random.randrange(99))
            await samples.listen(client)
            sampling = asyncio.create_task(samples.run())
            await load.pour(FILL, 0.0)
            await asyncio.gather(*(client.runs(RunsQuery()) for _ in range(8)))
            await load.pour(int(total * rate), total, first=FILL)
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling
            await load.finish(60.0)
            await client.close()
        finally:
            await stack.stop()
    for wrong in load.wrong[:10]:
        say(wrong)
    return samples


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    """Exit code 0 if nothing rises."""
    parser = argparse.ArgumentParser(prog="ops/test --soak", description=__doc__)
    parser.add_argument("seconds", type=seconds, metavar="DURATION", help="30m")
    parser.add_argument("--rate", type=float, default=5.0, help="runs a second")
    parser.add_argument("--warm-up", type=seconds, default=-1.0, help="default: a sixth")
    given = parser.parse_args()
    warm_up = given.seconds / 6 if given.warm_up < 0 else given.warm_up
    clean_environment()
    with open_folder("soak") as folder:
        samples = asyncio.run(soak(given.seconds, given.rate, folder))
    lines, flat = table(samples.series, warm_up)
    print("\n".join(lines))  # noqa: T201
    print(f"soak: {'flat' if flat else 'FAILED: something rises'}")  # noqa: T201
    return 0 if flat else 1


if __name__ == "__main__":
    raise SystemExit(main())
