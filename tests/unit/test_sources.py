"""When a development folder counts as changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from headway_engine.agent.sources import READ_AT_MOST, Source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("a = 1\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "part.py").write_text("b = 1\n")
    for path in ("app.py", "more/part.py"):
        os.utime(tmp_path / path, (50, 50))
    return tmp_path


def test_another_content_is_a_change_whatever_its_time(folder: Path) -> None:
    source = Source(folder)
    before = source.look()
    assert source.look() == before
    (folder / "app.py").write_text("a = 2\n")
    os.utime(folder / "app.py", (1, 1))
    assert source.look() != before
    (folder / "app.py").write_text("a = 1\n")
    assert source.look() == before


def test_the_same_written_again_is_none(folder: Path) -> None:
    source = Source(folder)
    before = source.look()
    os.utime(folder / "app.py", (90, 90))
    assert source.look() == before
    (folder / "new").write_text("b = 1\n")
    (folder / "new").replace(folder / "more" / "part.py")
    assert source.look() == before


def test_two_writes_of_one_moment_and_one_size_are_seen(folder: Path) -> None:
    source = Source(folder)
    (folder / "app.py").write_text("a = 3\n")
    status = (folder / "app.py").stat()
    before = source.look()
    with (folder / "app.py").open("r+") as file:
        file.write("a = 4\n")
    os.utime(folder / "app.py", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert source.look() != before


def test_a_file_that_comes_goes_or_is_renamed_is_a_change(folder: Path) -> None:
    source = Source(folder)
    looks = [source.look()]
    (folder / "third.py").write_text("")
    looks.append(source.look())
    (folder / "third.py").rename(folder / "fourth.py")
    looks.append(source.look())
    (folder / "fourth.py").unlink()
    assert len(set(looks)) == 3
    assert source.look() == looks[0]


@pytest.mark.parametrize(
    ("mark", "counts"),
    [("state/FORMAT", False), ("state/pyvenv.cfg", False), ("state/notes", True)],
)
def test_a_state_directory_or_an_environment_in_the_folder_does_not_count(
    folder: Path, mark: str, counts: bool
) -> None:
    (folder / "state").mkdir()
    (folder / mark).touch()
    source = Source(folder)
    before = source.look()
    (folder / "state" / "client.toml").write_text("x = 1\n")
    assert (source.look() != before) == counts


def test_what_python_leaves_and_hidden_folders_do_not_count(folder: Path) -> None:
    source = Source(folder)
    before = source.look()
    for name in ("__pycache__", ".headway", ".git"):
        (folder / name).mkdir()
        (folder / name / "x.py").write_text("c = 1\n")
    (folder / "app.pyc").write_bytes(b"x")
    assert source.look() == before


def test_a_large_file_is_told_by_its_time(folder: Path) -> None:
    source = Source(folder)
    with (folder / "data.json").open("wb") as file:
        file.truncate(READ_AT_MOST + 1)
    os.utime(folder / "data.json", (50, 50))
    before = source.look()
    assert source.look() == before
    os.utime(folder / "data.json", (60, 60))
    assert source.look() != before
