"""The console's numbers beside their goals: `PYTHONPATH=tests python tests/tui/figures.py`.

Own servers, real terminals; on a machine that is otherwise idle. `--lines 50000` for more output.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from support import goals, servers


async def measure(amount: goals.Amount) -> list[goals.Figure]:
    """All of them."""
    from headway_engine.store.postgres.migrate import migrate

    async with servers.running_postgres() as postgres, servers.running_nats() as nats:
        await servers.make_template(postgres, "figures", migrate)
        with servers.Databases(postgres, "figures") as databases:
            return await goals.all_of_them(nats, await databases.take(), amount)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=goals.Amount().rate, help="a second")
    parser.add_argument("--seconds", type=float, default=goals.Amount().seconds)
    parser.add_argument("--starts", type=int, default=goals.Amount().starts)
    options = parser.parse_args()
    servers.clean_environment()
    before = goals.load()
    found = asyncio.run(
        measure(goals.Amount(options.starts, options.seconds, options.lines))
    )  # fmt: skip
    sys.stdout.write(f"before: {before}; after: {goals.load()}\n")
    sys.stdout.writelines(f"{figure}\n" for figure in found)


if __name__ == "__main__":
    main()
