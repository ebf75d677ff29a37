"""`ops/test --storm 10m [--edge] [--docker] [--seed N] [--runs N]`: the long storm, a program."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from chaos.storm.report import table
from chaos.storm.storm import Setting, storm
from headway.retry import seconds
from headway_ops.chaos.plan import KINDS
from support.servers import clean_environment, open_folder

PER_MINUTE = 520
"""Runs a minute of the process runtime, when none are asked for: 10 min make over 5,000."""


def main() -> int:
    """Exit code 0 if everything held."""
    parser = argparse.ArgumentParser(prog="ops/test --storm", description=__doc__)
    parser.add_argument("seconds", type=seconds, metavar="DURATION", help="of faults: 60s, 10m")
    parser.add_argument("--edge", action="store_true", help="one nats-server and nothing else")
    parser.add_argument("--docker", action="store_true", help="real containers, a fault every 5 s")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--every", type=seconds, default=0.0, help="seconds between two faults")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--kill", default=",".join(KINDS), help="of " + ",".join(KINDS))
    parser.add_argument("--keep", action="store_true", help="keep logs, ledger and journal")
    given = parser.parse_args()
    kinds = tuple(given.kill.split(","))
    if wrong := set(kinds) - set(KINDS):
        parser.error(f"--kill {','.join(wrong)}: of {', '.join(KINDS)}")
    minutes = given.seconds / 60
    setting = Setting(
        given.seed,
        given.runs or int((200 / 10 if given.docker else PER_MINUTE) * minutes) or 20,
        given.seconds,
        given.every or (5.0 if given.docker else 2.0),
        "docker" if given.docker else "process",
        given.engines,
        kinds=tuple(kind for kind in kinds if kind != "postgres" or not given.edge),
        edge=given.edge,
    )
    clean_environment()

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201

    say(f"seed {setting.seed}: {setting.runs} runs, {setting.seconds:g} s of faults")
    with open_folder("storm") as folder:
        verdict = asyncio.run(storm(setting, folder, say))
        print(table(verdict))  # noqa: T201
        if given.keep:
            import shutil
            import tempfile

            kept = tempfile.mkdtemp(prefix="hw-storm-kept-")
            for path in [*folder.glob("*.jsonl"), *folder.glob("*.log")]:
                shutil.copy(path, kept)
            say(f"kept in {kept}")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
