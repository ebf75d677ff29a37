"""`ops/test --figures [--kills N] [--rounds N] [--retries N] [--site-runs N]`: how soon it goes on.

After kills, and after a hub was down; 0 leaves a figure out. Each line beside its target. Real
processes, the process runtime, fsync on; the machine should be quiet. Times are of one clock, since
everything runs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import msgspec

from chaos.figures.recovery import agent_lost, due_while_dead, task_killed
from chaos.figures.sites import CHUNK, hub_down
from support.servers import clean_environment


class Line(msgspec.Struct):
    """One figure."""

    what: str
    target: str
    measured: str
    ok: bool


def say(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201


async def _kills(kills: int) -> list[Line]:
    say(f"task killed: {kills} kills")
    took = await task_killed(kills, say)
    return [
        _under(f"task process killed ({len(took)}), p99", 2.0, p(took, 99)),
        Line("... p50", "", f"{p(took, 50):.2f} s", ok=True),
    ]


async def _hosts(rounds: int) -> list[Line]:
    say(f"host lost, lease 15 s: {rounds} times")
    took = await agent_lost(rounds, say)
    return [
        _under(f"agent and its tasks lost ({len(took)}), p99", 25.0, p(took, 99)),
        _under("... p50", 20.0, p(took, 50)),
    ]


async def _due(retries: int) -> list[Line]:
    say(f"{retries} retries due while the engine is dead")
    back = await due_while_dead(retries, say)
    return [
        _under(f"{retries} retries due meanwhile, last started", 5.0, back.last),
        Line("... after the engine's first answer", "", f"{back.last_from_ready:.2f} s", ok=True),
        Line("... early", "0", str(back.early), ok=back.early == 0),
        Line("... started twice, or never", "0", str(back.wrong), ok=back.wrong == 0),
    ]


async def _hub(runs: int) -> list[Line]:
    say(f"hub down while its site makes {runs:,} runs (20/s: {runs / 20 / 60:.1f} min)")
    back = await hub_down(runs, say)
    all_of_them = runs + CHUNK
    return [
        _under(f"hub back, {runs:,} runs of its site caught up", 10.0, back.seconds),
        Line("... messages of the site", "", f"{back.messages:,}", ok=True),
        Line("... runs", f"{all_of_them:,}", f"{back.runs:,}", ok=back.runs == all_of_them),
        Line("... events missing", "0", str(back.missing), ok=back.missing == 0),
        Line("... events doubled", "0", str(back.double), ok=back.double == 0),
    ]


def _under(what: str, limit: float, value: float) -> Line:
    return Line(what, f"< {limit:g} s", f"{value:.2f} s", ok=value < limit)


def p(values: list[float], percent: float) -> float:
    """A percentile by the nearest rank; of few values the highest ones are the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def main() -> int:
    """Exit code 0 if each target is reached."""
    parser = argparse.ArgumentParser(prog="ops/test --figures", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--retries", type=int, default=1000)
    parser.add_argument("--site-runs", type=int, default=12_000)
    given = parser.parse_args()
    clean_environment()
    wanted = (
        (_kills, given.kills), (_hosts, given.rounds), (_due, given.retries),
        (_hub, given.site_runs),
    )  # fmt: skip
    lines = [line for measure, count in wanted if count for line in asyncio.run(measure(count))]
    print(f"  {'what':<46}{'target':>8}{'measured':>12}")  # noqa: T201
    for line in lines:
        flag = "" if line.ok else "  <-"
        print(f"  {line.what:<46}{line.target:>8}{line.measured:>12}{flag}")  # noqa: T201
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
