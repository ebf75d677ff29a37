"""`python -m chaos.guard [NAME...]`: the suite over each mutation; a table of what caught it.

Each mutation gets a process of its own, forked before anything of ours is imported. `--store` runs
those of the SQL against a real Postgres, with the tests that each names. Exit code 1 if one lives.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos.mutant import Mutant, Stale, file_of, patched
from chaos.mutations import PURE, Mutation, Patch
from chaos.mutations_sql import IN_STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

for name in ("asyncpg", "hypothesis.stateful", "msgspec", "pydantic"):
    import_module(name)  # before the fork: each child has them at once

ROOT = Path(__file__).parents[2]
ARGUMENTS = (
    "-q", "--assert=plain",
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist"),
)  # fmt: skip
"""Nothing that only makes a report nicer: loading takes longer than most mutants live."""
PURE_TESTS = (
    "--noconftest",
    "tests/unit/test_lifecycle.py",
    "tests/chaos/test_sim.py::test_histories_keep_the_promises_and_reach_every_rare_path",
    "tests/unit/test_lifecycle_histories.py",
)
MEMORY = ("-k", "not postgres and not batches and not edge")
"""Of the contract's tests those on the reference store."""
STORE_TESTS = (*MEMORY, "tests/contract/test_store_saves.py", "tests/contract/test_store_claims.py")
OF_THE_SDK = ("tests/unit/test_retry.py", "tests/unit/test_once.py")
SETTINGS = {"CHAOS_SEEDS": "2000", "CHAOS_EXAMPLES": "40"}
NONE = Mutation("none: the suite as it is", ())
WHOLE = (NONE.name, "no epoch check at all")
"""Of these everything is wanted in any case."""
TOO_LONG = 300.0
ENOUGH = 30.0
"""Seconds that a mutant may go on after its first failure; more tests would only fill the table."""


class Result(NamedTuple):
    """What the suite said to a mutation."""

    name: str
    caught: list[str]
    """Tests that failed."""
    problem: str
    """Why it was no run at all."""
    seconds: float
    """Of a processor."""


class _Watcher:
    """A pytest plugin: which tests failed, told at once, since what comes after it may hang."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.count = 0
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += 1
        if report.failed:
            self.failed = True
            self.tell(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = True
            self.tell(f"{report.nodeid}: cannot be imported")


def check(mutations: Sequence[Mutation]) -> None:
    """Raises Stale for a patch that no longer fits."""
    for mutation in mutations:
        texts: dict[str, str] = {}
        for patch in mutation.patches:
            text = texts.get(patch.module) or file_of(patch.module).read_text("utf-8")
            texts[patch.module] = patched(patch, text)


def suite(mutation: Mutation, tell: Callable[[str], None], *, first: bool) -> str:
    """The suite over one mutation, in this process (which is spoilt then): why it was no run.

    `first`: the first failure is enough.
    """
    os.environ.update(SETTINGS)
    os.chdir(ROOT)
    mutant, watcher = Mutant(mutation), _Watcher(tell)
    mutant.install()
    args = list(ARGUMENTS)
    enough = first and mutation.name not in WHOLE
    if enough:
        args.append("-x")
    for tests in turns(mutation):
        watcher.count = 0
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
            code = pytest.main([*args, *tests], plugins=[watcher])
        gc.collect()  # what this one left open is none of the next one's failures
        if not watcher.count or code not in (0, 1, 2):
            return f"pytest ended with {code}: {out.getvalue()[-2000:]}"
        if enough and watcher.failed:
            break
    if mutant.untouched():
        return f"never loaded: {sorted(mutant.untouched())}"
    return ""


def turns(mutation: Mutation) -> list[tuple[str, ...]]:
    """Arguments of one pytest after the other, those first that most likely fail."""
    if mutation.tests:
        return [mutation.tests]
    if not mutation.patches:
        return [PURE_TESTS, STORE_TESTS, OF_THE_SDK]
    if any(p.module.startswith("headway.") for p in mutation.patches):
        return [OF_THE_SDK, PURE_TESTS, STORE_TESTS]
    return [PURE_TESTS, STORE_TESTS]


class _Child:
    """A mutant in a process of its own: one JSON line for each failure, one for its end."""

    def __init__(self, mutation: Mutation, *, first: bool) -> None:
        self.name = mutation.name
        self.limit = time.monotonic() + TOO_LONG
        self.text = b""
        self.out, into = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(into)
            return
        os.close(self.out)

        def tell(words: str | list[str]) -> None:
            os.write(into, json.dumps(words).encode() + b"\n")

        try:
            tell([suite(mutation, tell, first=first)])
        except BaseException:
            tell([traceback.format_exc()])
        os._exit(0)

    def read(self) -> bool:
        """What it has said; False once it has ended."""
        part = os.read(self.out, 65536)
        self.text += part
        if part and self.text:
            # After a failure it need not go on for long: some mutants hang in what follows.
            self.limit = min(self.limit, time.monotonic() + ENOUGH)
        return bool(part)

    def end(self) -> Result:
        """Its result; it is killed if it is not over."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        used = os.wait4(self.pid, 0)[2]
        os.close(self.out)
        said: list[str | list[str]] = [json.loads(t) for t in self.text.split(b"\n") if t]
        caught = list(dict.fromkeys(words for words in said if isinstance(words, str)))
        over = [words[0] for words in said if isinstance(words, list)]
        problem = over[0] if over else "" if caught else f"no word in {TOO_LONG} s"
        return Result(self.name, caught, problem, used.ru_utime + used.ru_stime)


def run(
    mutations: Sequence[Mutation],
    at_once: int = 2,
    tell: Callable[[Result], None] | None = None,
    *,
    first: bool = False,
) -> list[Result]:
    """All of them, so many at a time; each is told when it is through."""
    check(mutations)
    waiting, results = list(mutations), list[Result]()
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < at_once:
                child = _Child(waiting.pop(0), first=first)
                running.register(child.out, selectors.EVENT_READ, child)
            ready = {key.fd for key, _ in running.select(1.0)}
            for key in list(running.get_map().values()):
                child = key.data
                goes_on = child.read() if key.fd in ready else True
                if not goes_on or time.monotonic() > child.limit:
                    running.unregister(child.out)
                    results.append(child.end())
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
    ask.add_argument("--first", action="store_true", help="the first failing test is enough")
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--at-once", type=int, default=2)
    args = ask.parse_args()
    known = IN_STORE if args.store else (NONE, *PURE)
    chosen = [m for m in known if not args.names or any(n in m.name for n in args.names)]

    def tell(result: Result) -> None:
        sys.stdout.write(line(result))
        sys.stdout.flush()

    try:
        results = run(chosen, args.at_once, None if args.json else tell, first=args.first)
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
