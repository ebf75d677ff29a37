"""`ops/test --figures [--kills N] [--rounds N] [--retries N]`: how soon it goes on after a kill.

Each line beside its target. Real processes, the process runtime, fsync on; the machine should be
quiet. Times are of one clock, since everything runs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import msgspec

from chaos.figures.recovery import agent_lost, due_while_dead, task_killed
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


async def measure(kills: int, rounds: int, retries: int) -> list[Line]:
    """All of them, one after the other."""
    lines: list[Line] = []
    say(f"task killed: {kills} kills")
    took = await task_killed(kills, say)
    lines.append(_under(f"task process killed ({len(took)}), p99", 2.0, p(took, 99)))
    lines.append(Line("... p50", "", f"{p(took, 50):.2f} s", ok=True))
    say(f"host lost, lease 15 s: {rounds} times")
    took = await agent_lost(rounds, say)
    lines.append(_under(f"agent and its tasks lost ({len(took)}), p99", 25.0, p(took, 99)))
    lines.append(_under("... p50", 20.0, p(took, 50)))
    say(f"{retries} retries due while the engine is dead")
    back = await due_while_dead(retries, say)
    lines += [
        _under(f"{retries} retries due meanwhile, last started", 5.0, back.last),
        Line("... after the engine's first answer", "", f"{back.last_from_ready:.2f} s", ok=True),
        Line("... early", "0", str(back.early), ok=back.early == 0),
        Line("... started twice, or never", "0", str(back.wrong), ok=back.wrong == 0),
    ]
    return lines


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
    given = parser.parse_args()
    clean_environment()
    lines = asyncio.run(measure(given.kills, given.rounds, given.retries))
    print(f"  {'what':<46}{'target':>8}{'measured':>12}")  # noqa: T201
    for line in lines:
        flag = "" if line.ok else "  <-"
        print(f"  {line.what:<46}{line.target:>8}{line.measured:>12}{flag}")  # noqa: T201
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
