"""The console's numbers beside their goals: `PYTHONPATH=tests python tests/tui/figures.py`.

Own servers, real terminals; on a machine that is otherwise idle. Names of lines measure those
alone; `--brief` does little of each, to see that it works.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from support import figures, goals, servers
from support.databases import Databases, make_template


async def measure(amount: figures.Amount, only: list[str]) -> list[figures.Figure]:
    """These lines, printed as they come; lists of very many runs have servers of their own."""
    from headway_engine.store.postgres.migrate import migrate

    found: list[figures.Figure] = []
    parts = [[n for n in kind if not only or n in only] for kind in (goals.LINES, goals.LISTS)]
    for names in filter(None, parts):
        async with servers.running_postgres() as postgres, servers.running_nats() as nats:
            await make_template(postgres, "figures", migrate)
            with Databases(postgres, "figures") as databases:
                dsn = await databases.take()
                found += await goals.measured(nats, dsn, amount, names, told)
    return found


def told(figure: figures.Figure) -> None:
    """At once: all of them take a quarter of an hour."""
    sys.stdout.write(f"{figure}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*goals.LINES, *goals.LISTS]
    parser.add_argument("line", nargs="*", help=f"of these alone: {', '.join(names)}")
    parser.add_argument("--rate", type=int, help="lines a second")
    parser.add_argument("--seconds", type=float, help="for which lines pour in")
    parser.add_argument("--starts", type=int)
    parser.add_argument("--runs", type=int, help="in the long list")
    parser.add_argument("--lines", type=int, help="that pass before the memory is looked at")
    parser.add_argument("--brief", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.line if name not in names]:
        parser.error(f"no line {unknown[0]!r}: {', '.join(names)}")
    amount = figures.SHORT if options.brief else figures.Amount()
    given = {"rate": options.rate, "seconds": options.seconds, "starts": options.starts,
             "runs": options.runs, "lines": options.lines}  # fmt: skip
    amount = amount._replace(**{name: value for name, value in given.items() if value is not None})
    servers.clean_environment()
    before = figures.load()
    found = asyncio.run(measure(amount, options.line))
    missed = sum(not figure.ok for figure in found)
    sys.stdout.write(
        f"{len(found)} figures, {missed} missed; {before} before, {figures.load()} now\n"
    )


if __name__ == "__main__":
    main()
