"""The tests are tested: each named mutation of the fencing, once and retry code makes some fail.

`python -m chaos.guard` (in `tests/`) prints the table of what caught which.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos.guard import NONE
from chaos.mutant import Stale, file_of, patched
from chaos.mutations import PURE, Mutation, Patch
from chaos.mutations_sql import IN_STORE

TESTS = Path(__file__).parents[1]


def guard(*args: str) -> dict[str, dict[str, Any]]:
    """What the suite said to each mutation."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos.guard", "--json", *args],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {r["name"]: r for r in json.loads(done.stdout)}


def problems(results: dict[str, dict[str, Any]], mutations: tuple[Mutation, ...]) -> list[str]:
    assert set(results) >= {m.name for m in mutations}
    return [
        f"{m.name}: {results[m.name]['problem'] or 'nothing failed'}"
        for m in mutations
        if results[m.name]["problem"] or not results[m.name]["caught"]
    ]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """All of them, once; the first test that fails is enough."""
    return guard("--first")


@pytest.mark.timeout(1200)
def test_the_suite_is_green_without_a_mutation(results: dict[str, dict[str, Any]]) -> None:
    assert results[NONE.name]["caught"] == []
    assert results[NONE.name]["problem"] == ""


def test_each_mutation_makes_the_quick_suite_fail(results: dict[str, dict[str, Any]]) -> None:
    assert problems(results, PURE) == []


def test_without_the_epoch_check_at_least_three_tests_fail(
    results: dict[str, dict[str, Any]],
) -> None:
    caught = results["no epoch check at all"]["caught"]
    assert len({test.split("[")[0] for test in caught}) >= 3
    assert len({test.split("::")[0] for test in caught}) >= 2, "rules one by one, and histories"


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_each_mutation_of_the_sql_makes_its_tests_fail() -> None:
    assert problems(guard("--store"), IN_STORE) == []


@pytest.mark.parametrize("mutation", [*PURE, *IN_STORE], ids=lambda m: m.name)
def test_a_mutation_fits_the_code_of_today(mutation: Mutation) -> None:
    texts: dict[str, str] = {}
    for patch in mutation.patches:
        before = texts.get(patch.module) or file_of(patch.module).read_text("utf-8")
        texts[patch.module] = patched(patch, before)
        assert texts[patch.module] != before


@pytest.mark.parametrize("old", ["no such line", "return", "def backoff("])
def test_a_patch_that_does_not_fit_is_an_error(old: str) -> None:
    text = file_of("headway.retry").read_text("utf-8")
    with pytest.raises(Stale):
        patched(Patch("headway.retry", old, "def backoff("), text)
