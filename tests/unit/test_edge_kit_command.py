"""`headway edge kit` as it is typed: what is said before anything is fetched; nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway_ops.edge import kit
from headway_ops.edge.kit import Options
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from pathlib import Path


def headway(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, to which no packages are given, should it ask for some."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEADWAY_", "PIP_"))}
    return subprocess.run(
        [sys.executable, "-m", "headway_ops", "edge", "kit", *words],
        env=clean | {"COLUMNS": "100", "PIP_NO_INDEX": "1"},
        capture_output=True, text=True, cwd=cwd, timeout=60, check=False,
    )  # fmt: skip


def refused(out: str, python: str = "") -> Fail:
    """What it says instead of making a kit."""
    with pytest.raises(Fail) as e:
        kit.kit(Options(out, python), as_json=False)
    assert e.value.code == Exit.USAGE
    assert e.value.todo
    return e.value


def test_help_says_what_it_makes_and_for_which_machine(tmp_path: Path) -> None:
    done = headway(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("OUT", "--python", "--platform", "--also", "without a network"):
        assert word in " ".join(done.stdout.split())


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "kit.tar.gz").write_text("mine")
    done = headway(tmp_path, "kit.tar.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'kit.tar.gz'} is there already" in done.stderr
    assert (tmp_path / "kit.tar.gz").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["kit.tar.gz"]
    (tmp_path / "kit").mkdir()
    assert "is there already" in refused(str(tmp_path / "kit")).what


def test_a_folder_that_is_not_there_or_takes_nothing_is_said(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "none" / "kit")).what == f"there is no folder {tmp_path / 'none'}"
    (tmp_path / "file").touch()
    assert "there is no folder" in refused(str(tmp_path / "file" / "kit")).what
    # Where not even root writes.
    assert refused("/proc/kit").what.startswith("/proc cannot be written to: ")


@pytest.mark.parametrize("name", ["kit.zip", "kit.tgz", "kit.tar", "kit-0.1.tar.xz"])
def test_an_archive_of_another_kind_is_not_made_a_folder(tmp_path: Path, name: str) -> None:
    said = refused(str(tmp_path / name))
    assert ".tar.gz" in said.what + said.todo
    assert not list(tmp_path.iterdir())


def test_a_machine_that_cannot_be_is_said(tmp_path: Path) -> None:
    done = headway(tmp_path, "kit", "--platform", "vax")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--platform vax" in done.stderr
    assert "--python 2.7" in refused(str(tmp_path / "kit"), python="2.7").what
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
def test_without_the_packages_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = headway(tmp_path, "kit")
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "pip found no wheels" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
