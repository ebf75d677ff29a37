"""Coverage-guided fuzzing of every decoder: `python tests/chaos/fuzz/run.py --minutes 20`.

Each target runs in a process of its own, for its minutes, on a corpus that is kept. An undeclared
error does not end it: each kind is told once, with the shortest body that raised it. Needs the
dependency group `fuzz` (atheris) beside the package itself. Exits 1 if there was any.
"""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import base64
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
LENGTH = 4096
"""Bytes of a body, at most."""
SLOW = 5
"""Seconds of one body that count as an error."""


def child(name: str, minutes: float, corpus: Path, out: Path) -> None:
    """One target, until its time is over; what it finds is in `out` at once."""
    sys.path[:0] = [str(HERE.parents[2])]
    fuzzer: Any = importlib.import_module("atheris")  # of the dependency group `fuzz`
    with fuzzer.instrument_imports(include=["headway", "headway_engine", "headway_ops"]):
        from chaos.fuzz.targets import BY_NAME
    target = BY_NAME[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for n, seed in enumerate(target.seeds):
        (corpus / f"seed-{n}").write_bytes(seed)
    found: dict[str, str] = {}

    def one(data: bytes) -> None:
        try:
            target.run(data)
        except target.declared:
            return
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            key = f"{type(e).__name__} at {Path(where.filename).name}:{where.lineno}"
            body = base64.b64encode(data).decode()
            if len(found.get(key, body + "x")) > len(body):
                found[key] = body
                out.write_text(json.dumps(found))

    options = [
        sys.argv[0], str(corpus), f"-max_total_time={max(1, int(minutes * 60))}",
        f"-max_len={LENGTH}", f"-timeout={SLOW}", "-rss_limit_mb=1024", "-print_final_stats=1",
        "-verbosity=0", f"-artifact_prefix={corpus}-",
    ]  # fmt: skip
    fuzzer.Setup(options, one)
    fuzzer.Fuzz()


def one_of(name: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Run a target's process; the numbers of its line."""
    out = folder / f"{name}.json"
    corpus = folder / name
    command = [
        sys.executable, str(HERE), "--child", name, "--minutes", str(minutes),
        "--corpus", str(folder),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executions = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    found: dict[str, str] = json.loads(out.read_text()) if out.exists() else {}
    if done.returncode != 0 or executions is None:
        last = [line for line in done.stderr.splitlines() if line.strip()][-4:]
        found[f"the fuzzer ended with {done.returncode}: {' | '.join(last)}"[:400]] = ""
    return {
        "name": name,
        "executions": int(executions[1]) if executions else 0,
        "found": found,
        "corpus": sum(1 for _ in corpus.iterdir()) if corpus.exists() else 0,
    }


def main() -> int:
    """All targets, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="for each target")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "hw-corpus")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder: Path = asked.corpus
    if asked.child:
        child(asked.child, asked.minutes, folder / asked.child, folder / f"{asked.child}.json")
        return 0
    sys.path[:0] = [str(HERE.parents[2])]
    from chaos.fuzz.targets import BY_NAME

    if unknown := set(asked.only) - set(BY_NAME):
        print(f"no target {sorted(unknown)}; there are: {', '.join(BY_NAME)}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    names: list[str] = asked.only or list(BY_NAME)
    print(f"{len(names)} targets, {asked.minutes:g} min each, corpus in {folder}")
    print(f"{'target':<28} {'executions':>12} {'undeclared':>10} {'corpus':>7}", flush=True)
    bad = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for row in pool.map(one_of, names, repeat(asked.minutes), repeat(folder)):
            found = row["found"]
            count = f"{row['executions']:>12,} {len(found):>10} {row['corpus']:>7}"
            print(f"{row['name']:<28} {count}", flush=True)
            for what, body in found.items():
                print(f"    {what}\n      {base64.b64decode(body)[:200]!r}", flush=True)
            bad += len(found)
    print(f"undeclared errors: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
