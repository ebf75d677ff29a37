"""The simulator over the lifecycle and the reference store: kept seeds first, then many.

A failing seed is printed with its trace; `python -m chaos.sim --seed N` (in `tests/`) plays it
again. `CHAOS_SEEDS` and `CHAOS_START` choose how many and from where.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.sim.history import play, run_seed
from chaos.sim.rules import LEGAL, NEVER_MADE, wanted
from chaos.sim.search import search
from headway.states import MOVES

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("CHAOS_SEEDS", "50000"))
START = int(os.environ.get("CHAOS_START", "0"))
ALL = 50_000
"""So many reach everything; fewer (the mutation guard) need not."""


def kept() -> list[int]:
    lines = (HERE / "seeds.txt").read_text("utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", kept())
def test_a_seed_that_once_found_something(seed: int) -> None:
    run_seed(seed)


@pytest.mark.timeout(900)
def test_histories_keep_the_promises_and_reach_every_rare_path() -> None:
    reached = search(START, SEEDS, 2 if SEEDS >= ALL else 1)
    surprises = [f"{a} -> {b}" for a, b in NEVER_MADE if reached[f"{a} -> {b}"]]
    assert not surprises, "moves that no rule made until now: take them off NEVER_MADE"
    if SEEDS >= ALL:
        missing = [name for name in wanted() if not reached[name]]
        assert not missing, "never reached: nothing was proved about these"


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_other_histories_each_night() -> None:
    start = secrets.randbelow(10**9)
    sys.stdout.write(f"seeds from {start}\n")
    search(start, 1_000_000)


def test_a_seed_is_one_history_in_every_process() -> None:
    script = "from chaos.sim.history import play; t=[]; [play(n, t) for n in range(40)]"
    traces: set[str] = set()
    for hashing in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", f"{script}; print('\\n'.join(t))"],
            env={**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": str(HERE.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout.removesuffix("\n"))
    here: list[str] = []
    for seed in range(40):
        play(seed, here)
    assert traces == {"\n".join(here)}
    assert len(here) > 400


def test_the_products_table_of_moves_is_the_designs() -> None:
    assert {("" if a is None else a.value, b.value) for a, bs in MOVES.items() for b in bs} == LEGAL
