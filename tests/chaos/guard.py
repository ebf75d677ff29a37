"""`python -m chaos.guard [NAME...]`: the suite over each mutation; a table of what caught it.

Each mutation gets a process of its own, forked before anything of ours is imported. `--store` runs
those of the SQL against a real Postgres, with the tests that each names. Exit code 1 if one lives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import traceback
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis.stateful  # noqa: F401  # before the fork: it takes a second
import pytest

from chaos.mutant import Mutant, Stale, file_of, patched
from chaos.mutations import IN_STORE, PURE, Mutation, Patch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
QUICK = (
    "tests/unit/test_lifecycle.py",
    "tests/unit/test_retry.py",
    "tests/unit/test_once.py",
    "tests/unit/test_lifecycle_histories.py",
    "tests/chaos/test_sim.py::test_a_seed_that_once_found_something",
    "tests/chaos/test_sim.py::test_histories_keep_the_promises_and_reach_every_rare_path",
)
SETTINGS = {"CHAOS_SEEDS": "2000", "CHAOS_EXAMPLES": "50"}
NONE = Mutation("none: the suite as it is", ())
TOO_LONG = 45
"""Seconds of a processor's time after which a mutant hangs: that counts as caught, too."""


class Result(NamedTuple):
    """What the suite said to a mutation."""

    name: str
    caught: list[str]
    """Tests that failed."""
    problem: str
    """Why it was no run at all."""
    seconds: float


class _Watcher:
    """A pytest plugin: which tests failed, how many passed."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)
        self.passed += report.passed and report.when == "call"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid}: cannot be imported")


def check(mutations: Sequence[Mutation]) -> None:
    """Raises Stale for a patch that no longer fits."""
    for mutation in mutations:
        texts: dict[str, str] = {}
        for patch in mutation.patches:
            text = texts.get(patch.module) or file_of(patch.module).read_text("utf-8")
            texts[patch.module] = patched(patch, text)


def one(mutation: Mutation) -> Result:
    """The suite over one mutation, in this process: it is spoilt afterwards."""
    began = time.monotonic()
    os.environ.update(SETTINGS)
    os.chdir(ROOT)
    mutant, watcher = Mutant(mutation), _Watcher()
    mutant.install()
    args = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    tests = mutation.tests or QUICK
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
        code = pytest.main([*args, *tests], plugins=[watcher])
    problem = ""
    if mutant.untouched():
        problem = f"never loaded: {sorted(mutant.untouched())}"
    elif not watcher.passed + len(watcher.failed) or code not in (0, 1, 2):
        problem = f"pytest ended with {code}: {out.getvalue()[-2000:]}"
    return Result(mutation.name, watcher.failed, problem, time.monotonic() - began)


def fork(mutation: Mutation) -> tuple[int, int]:
    """A child that runs it: (its pid, where its answer comes out)."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    try:
        os.close(out)
        resource.setrlimit(resource.RLIMIT_CPU, (TOO_LONG, TOO_LONG))
        answer: Any = one(mutation)._asdict()
    except BaseException:
        answer = Result(mutation.name, [], traceback.format_exc(), 0.0)._asdict()
    with os.fdopen(into, "w") as pipe:
        json.dump(answer, pipe)
    os._exit(0)


def run(
    mutations: Sequence[Mutation],
    at_once: int = 2,
    tell: Callable[[Result], None] | None = None,
) -> list[Result]:
    """All of them, so many at a time; each is told when it is through."""
    check(mutations)
    waiting, running, results = list(mutations), dict[int, tuple[int, Mutation]](), list[Result]()
    while waiting or running:
        while waiting and len(running) < at_once:
            mutation = waiting.pop(0)
            pid, out = fork(mutation)
            running[pid] = out, mutation
        # The answer is read to its end first: a full pipe would keep the child from ending.
        pid, (out, mutation) = next(iter(running.items()))
        with os.fdopen(out) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        del running[pid]
        hung = {"name": mutation.name, "caught": ["it hangs"], "problem": "", "seconds": TOO_LONG}
        results.append(Result(**(json.loads(text) if text else hung)))
        if tell is not None:
            tell(results[-1])
    return results


def line(r: Result) -> str:
    """A row of the table: how many tests failed in which files."""
    files = Counter(Path(test.split("::")[0]).stem.removeprefix("test_") for test in r.caught)
    by = ", ".join(f"{name} {count}" for name, count in files.items())
    return f"{r.name:58} {r.problem or by or 'nothing failed'}   ({r.seconds:.1f} s)\n"


def main() -> int:
    """Exit code: 0 = the suite is green, and every mutation was caught."""
    ask = argparse.ArgumentParser(prog="chaos.guard", description=__doc__)
    ask.add_argument("names", nargs="*", help="parts of names")
    ask.add_argument("--store", action="store_true", help="those of the SQL")
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--at-once", type=int, default=2)
    args = ask.parse_args()
    known = IN_STORE if args.store else (NONE, *PURE)
    chosen = [m for m in known if not args.names or any(n in m.name for n in args.names)]

    def tell(result: Result) -> None:
        sys.stdout.write(line(result))
        sys.stdout.flush()

    try:
        results = run(chosen, args.at_once, None if args.json else tell)
    except Stale as e:
        sys.stdout.write(f"a patch is out of date: {e}\n")
        return 2
    if args.json:
        json.dump([r._asdict() for r in results], sys.stdout)
    good = all((not r.caught) == (r.name == NONE.name) and not r.problem for r in results)
    return 0 if good else 1


__all__ = ["Mutation", "Patch", "Result", "line", "run"]

if __name__ == "__main__":
    sys.exit(main())
