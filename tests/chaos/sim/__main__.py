"""`python -m chaos.sim`: many seeds, or one with its trace."""

from __future__ import annotations

import argparse
import sys
import time

from chaos.sim.history import Failure, play
from chaos.sim.rules import wanted
from chaos.sim.search import search


def main() -> int:
    """0 = nothing broken and everything reached."""
    ask = argparse.ArgumentParser(prog="chaos.sim", description=__doc__)
    ask.add_argument("--seed", type=int, help="one seed, with its trace")
    ask.add_argument("--seeds", type=int, default=50_000)
    ask.add_argument("--start", type=int, default=0)
    ask.add_argument("--processes", type=int, default=2)
    args = ask.parse_args()
    out = sys.stdout.write
    if args.seed is not None:
        trace: list[str] = []
        try:
            play(args.seed, trace)
        finally:
            out("\n".join(trace) + "\n")
        return 0
    began = time.perf_counter()
    try:
        reached = search(args.start, args.seeds, args.processes)
    except Failure as e:
        out(f"{e}\n")
        return 1
    took = time.perf_counter() - began
    for name in sorted({*wanted(), *reached}):
        out(f"{reached[name]:9d}  {name}\n")
    missing = [name for name in wanted() if not reached[name]]
    out(f"{args.seeds} seeds in {took:.1f} s, {1e3 * took / args.seeds:.2f} ms each\n")
    out(f"never reached: {missing}\n" if missing else "everything was reached\n")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
