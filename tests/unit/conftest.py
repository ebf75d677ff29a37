"""What several unit tests stand on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headway import tasks

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLE = Path(__file__).parents[2] / "ops" / "examples" / "research"


@pytest.fixture
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No task is known at first, and those of the test are forgotten."""
    monkeypatch.setattr(tasks, "_registry", {})


@pytest.fixture(scope="module")
def example() -> Generator[Any]:
    """Loads a module of the example as a user's file is loaded: its folder is on the path."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXAMPLE))
