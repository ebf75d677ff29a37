"""The look for known vulnerabilities: a finding fails, silence of the service is said aloud."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def audit() -> Any:
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("headway_audit", str(ROOT / "ops" / "audit"))
    spec = importlib.util.spec_from_loader("headway_audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
FOUND = [{"id": "CVE-1", "fix_versions": ["3"]}]
BAD: dict[str, Any] = {"name": "b", "version": "2", "vulns": FOUND}
UNKNOWN: dict[str, Any] = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("rows", "word", "line"),
    [
        ([GOOD], "ok", "1 pinned versions, no known vulnerability"),
        ([GOOD, UNKNOWN], "ok", "not checked: c"),
        ([GOOD, BAD, UNKNOWN], "bad", "b 2: CVE-1 (fixed in 3)"),
        ([UNKNOWN], "not checked", "the advisory service knows none of the packages"),
        ([], "not checked", "the advisory service knows none of the packages"),
    ],
)
def test_findings_fail_and_unknown_packages_are_named(
    rows: list[Any], word: str, line: str
) -> None:
    found, lines = audit().verdict(json.dumps({"dependencies": rows}), "")
    assert found == word
    assert line in lines


def test_a_service_that_does_not_answer_is_said_and_is_no_finding() -> None:
    found, lines = audit().verdict("", "Traceback\nConnectionError: no route\n")
    assert (found, lines) == ("not checked", ["ConnectionError: no route"])
