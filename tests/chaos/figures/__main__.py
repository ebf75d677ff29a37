"""`ops/test --figures [--edge] ...`: each figure beside its target; exit code 0 if all are reached.

Without `--edge`: how soon it goes on after a kill (--kills N, --rounds N, --retries N) and after a
hub was down (--site-runs N); 0 leaves a figure out. With it: what an edge costs (--only up, idle,
checkpoint, archive, hub or cuts; --runs N of the archive). Real
processes, the process runtime, fsync on; the machine should be quiet. Times are of one clock, since
everything runs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from chaos.figures import edge
from chaos.figures.archive import archive
from chaos.figures.lines import Line, note, p, table, under
from chaos.figures.recovery import agent_lost, due_while_dead, task_killed
from chaos.figures.sites import CHUNK, hub_down
from support.servers import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


EDGE = ("up", "idle", "checkpoint", "archive", "hub", "cuts")
"""What `--only` takes."""


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201


async def _kills(kills: int) -> list[Line]:
    say(f"task killed: {kills} kills")
    took = await task_killed(kills, say)
    return [
        under(f"task process killed ({len(took)}), p99", 2.0, p(took, 99)),
        note("p50", f"{p(took, 50):.2f} s"),
    ]


async def _hosts(rounds: int) -> list[Line]:
    say(f"host lost, lease 15 s: {rounds} times")
    took = await agent_lost(rounds, say)
    return [
        under(f"agent and its tasks lost ({len(took)}), p99", 25.0, p(took, 99)),
        under("... p50", 20.0, p(took, 50)),
    ]


async def _due(retries: int) -> list[Line]:
    say(f"{retries} retries due while the engine is dead")
    back = await due_while_dead(retries, say)
    return [
        under(f"{retries} retries due meanwhile, last started", 5.0, back.last),
        note("after the engine's first answer", f"{back.last_from_ready:.2f} s"),
        Line("... early", "0", str(back.early), ok=back.early == 0),
        Line("... started twice, or never", "0", str(back.wrong), ok=back.wrong == 0),
    ]


async def _hub(runs: int) -> list[Line]:
    say(f"hub down while its site makes {runs:,} runs (20/s: {runs / 20 / 60:.1f} min)")
    back = await hub_down(runs, say)
    all_of_them = runs + CHUNK
    return [
        under(f"hub back, {runs:,} runs of its site caught up", 10.0, back.seconds),
        note("messages of the site", f"{back.messages:,}"),
        Line("... runs", f"{all_of_them:,}", f"{back.runs:,}", ok=back.runs == all_of_them),
        Line("... events missing", "0", str(back.missing), ok=back.missing == 0),
        Line("... events doubled", "0", str(back.double), ok=back.double == 0),
    ]


Measure = tuple["Callable[[int], Coroutine[Any, Any, list[Line]]]", int]
"""A measurement and how much of it; 0 = it is left out."""


def recovery(given: argparse.Namespace) -> list[Measure]:
    """How soon it goes on."""
    return [
        (_kills, given.kills), (_hosts, given.rounds), (_due, given.retries),
        (_hub, given.site_runs),
    ]  # fmt: skip


def of_the_edge(given: argparse.Namespace) -> list[Measure]:
    """What an edge costs, in the order of the table."""
    parts: dict[str, Measure] = {
        "up": (lambda _: edge.first_result(say), 1),
        "idle": (lambda _: edge.idle(say), 1),
        "checkpoint": (lambda _: edge.checkpoint(say), 1),
        "archive": (lambda runs: archive(runs, say), given.runs),
        "hub": (_hub, given.site_runs),
        "cuts": (lambda _: edge.power_cuts(say), 1),
    }
    return [parts[name] for name in given.only or parts]


def main() -> int:
    """Exit code 0 if each target is reached."""
    parser = argparse.ArgumentParser(prog="ops/test --figures", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--retries", type=int, default=1000)
    parser.add_argument("--site-runs", type=int, default=12_000)
    parser.add_argument("--edge", action="store_true")
    parser.add_argument("--only", action="append", choices=EDGE)
    parser.add_argument("--runs", type=int, default=100_000)
    given = parser.parse_args()
    clean_environment()
    say(f"load of this machine: {os.getloadavg()[0]:.2f}")
    wanted = of_the_edge(given) if given.edge else recovery(given)
    lines: list[Line] = []
    for measure, count in wanted:
        if count:
            lines += asyncio.run(measure(count))
    print(table(lines))  # noqa: T201
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
