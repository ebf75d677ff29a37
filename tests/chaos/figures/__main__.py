"""`ops/test --figures [--edge] ...`: each figure beside its target; exit code 0 if all are reached.

Without `--edge`: how soon it goes on after a kill (--kills N, --rounds N, --retries N). With it:
what an edge costs (--only up|idle|checkpoint|archive|cuts, --runs N of the archive). Real
processes, the process runtime, fsync on; the machine should be quiet. Times are of one clock, since
everything runs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

from chaos.figures import edge
from chaos.figures.archive import archive
from chaos.figures.lines import Line, note, p, table, under
from chaos.figures.recovery import agent_lost, due_while_dead, task_killed
from support.servers import clean_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201


async def recovery(kills: int, rounds: int, retries: int) -> list[Line]:
    """After a kill, one figure after the other."""
    say(f"task killed: {kills} kills")
    took = await task_killed(kills, say)
    lines = [
        under(f"task process killed ({len(took)}), p99", 2.0, p(took, 99)),
        note("p50", f"{p(took, 50):.2f} s"),
    ]
    say(f"host lost, lease 15 s: {rounds} times")
    took = await agent_lost(rounds, say)
    lines.append(under(f"agent and its tasks lost ({len(took)}), p99", 25.0, p(took, 99)))
    lines.append(under("... p50", 20.0, p(took, 50)))
    say(f"{retries} retries due while the engine is dead")
    back = await due_while_dead(retries, say)
    return [
        *lines,
        under(f"{retries} retries due meanwhile, last started", 5.0, back.last),
        note("after the engine's first answer", f"{back.last_from_ready:.2f} s"),
        Line("... early", "0", str(back.early), ok=back.early == 0),
        Line("... started twice, or never", "0", str(back.wrong), ok=back.wrong == 0),
    ]


def of_the_edge(runs: int) -> dict[str, Callable[[], Awaitable[list[Line]]]]:
    """What is measured of an edge, by its name, in the order of the table."""
    return {
        "up": lambda: edge.first_result(say),
        "idle": lambda: edge.idle(say),
        "checkpoint": lambda: edge.checkpoint(say),
        "archive": lambda: archive(runs, say),
        "cuts": lambda: edge.power_cuts(say),
    }


async def measured(given: argparse.Namespace) -> list[Line]:
    """The lines that were asked for."""
    if not given.edge:
        return await recovery(given.kills, given.rounds, given.retries)
    parts = of_the_edge(given.runs)
    lines: list[Line] = []
    for name in given.only or parts:
        lines += await parts[name]()
    return lines


def main() -> int:
    """Exit code 0 if each target is reached."""
    parser = argparse.ArgumentParser(prog="ops/test --figures", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--retries", type=int, default=1000)
    parser.add_argument("--edge", action="store_true")
    parser.add_argument("--only", action="append", choices=list(of_the_edge(0)))
    parser.add_argument("--runs", type=int, default=100_000)
    given = parser.parse_args()
    clean_environment()
    say(f"load of this machine: {os.getloadavg()[0]:.2f}")
    lines = asyncio.run(measured(given))
    print(table(lines))  # noqa: T201
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
