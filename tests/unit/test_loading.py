"""What is said beside an import that failed for another reason than Python says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from headway.runner.loading import reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def missing(name: str) -> ModuleNotFoundError:
    """As Python raises it."""
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


def closed(*paths: Path) -> Callable[[str, int], bool]:
    """`os.access` of a user to whom these are closed."""
    return lambda path, mode: path not in {str(p) for p in paths}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "tasks").mkdir(parents=True)
    (tmp_path / "shop" / "tasks" / "mail.py").touch()
    return tmp_path


def test_a_closed_folder_is_named_with_the_user_and_what_to_do(project: Path) -> None:
    said = reason(missing("shop"), ("shop.tasks.mail",), str(project), closed(project))
    assert said.startswith(f"{project} is closed for user {os.geteuid()}")
    assert "chmod -R o+rX" in said


@pytest.mark.parametrize("part", ["shop", "shop/tasks"])
def test_so_is_a_closed_package_below_it(project: Path, part: str) -> None:
    named = part.replace("/", ".")
    said = reason(missing(named), ("shop.tasks.mail",), str(project), closed(project / part))
    assert said.startswith(f"{project / part} is closed")


def test_a_file_that_may_not_be_read_is_named(project: Path) -> None:
    error = PermissionError(13, "Permission denied", str(project / "shop" / "tasks" / "mail.py"))
    said = reason(error, ("shop.tasks.mail",), str(project))
    assert said.startswith(f"{project}/shop/tasks/mail.py is closed")
    assert reason(PermissionError(13, "no", "/etc/shadow"), ("shop",), str(project)) == ""


def test_a_folder_that_is_empty_or_not_there_is_said(tmp_path: Path) -> None:
    assert "is empty here" in reason(missing("app"), ("app",), str(tmp_path))
    assert "there is no folder" in reason(missing("app"), ("app",), str(tmp_path / "gone"))


def test_nothing_is_added_where_python_is_right(project: Path) -> None:
    shut = closed(project)
    assert reason(missing("requests"), ("shop.tasks.mail",), str(project), shut) == ""
    assert reason(missing("shop"), ("shop",), "", shut) == ""
    assert reason(missing("shop.none"), ("shop.none",), str(project)) == ""
    assert reason(ImportError("broken"), ("shop",), str(project), shut) == ""
    assert reason(ValueError("no"), ("shop",), str(project), shut) == ""
