"""The table of rules and faults names tests that exist, for each row of the fault matrix."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "chaos" / "README.md").read_text()
ROWS = set(range(1, 69)) - {60, 61, 68}
"""Those that the table itself leaves out, with its reasons, left out."""


def test_each_test_that_the_table_names_exists() -> None:
    named = re.findall(r"([a-z]+/test_\w+\.py)::(test_\w+)", TABLE)
    assert len(named) > 120
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).exists() or f"def {name}(" not in (TESTS / file).read_text()
    ]
    assert not missing
    assert "..." not in TABLE.replace("What happens if ...", "")


def test_each_fault_has_a_row_with_a_test() -> None:
    found: set[int] = set()
    for numbers, tests in re.findall(r"^\| ([\d, ]+) \|[^|]*\|(.*)\|$", TABLE, re.MULTILINE):
        assert "::test_" in tests, numbers
        found |= {int(n) for n in numbers.split(",")}
    assert found == ROWS
