"""The table of rules and faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_each_test_that_the_table_names_exists() -> None:
    table = (TESTS / "chaos" / "README.md").read_text()
    named = re.findall(r"([a-z]+/test_\w+\.py)::(test_\w+)", table)
    assert len(named) > 60
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).exists() or f"def {name}(" not in (TESTS / file).read_text()
    ]
    assert not missing
