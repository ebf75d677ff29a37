"""A user's own folders: nothing of his lies where another could have laid a trap."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from headway import folders

if TYPE_CHECKING:
    from pathlib import Path


def test_the_variables_say_where_and_the_home_else() -> None:
    env = {"HOME": "/home/ana", "XDG_STATE_HOME": "/var/ana", "XDG_CACHE_HOME": "not/absolute"}
    assert str(folders.state_folder(env)) == "/var/ana/headway"
    assert str(folders.config_folder(env)) == "/home/ana/.config/headway"
    assert str(folders.cache_folder(env)) == "/home/ana/.cache/headway"


def test_a_user_without_a_home_gets_a_folder_that_nobody_can_guess(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders._made.cache_clear()  # pyright: ignore[reportPrivateUsage] kept for a process
    found = folders.state_folder({})
    folders._made.cache_clear()  # pyright: ignore[reportPrivateUsage] as it was
    [made] = tmp_path.iterdir()
    assert made in found.parents
    assert made.name != "headway"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_private_file_is_its_owners_and_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    file = tmp_path / "mine" / "kept"
    folders.write_private(file, b"1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.unlink()
    file.symlink_to(elsewhere)
    folders.write_private(file, b"2")
    assert elsewhere.read_text() == "theirs"
    assert file.read_bytes() == b"2"
    assert os.listdir(file.parent) == ["kept"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(OSError, match="kept"):
        folders.write_private(tmp_path / "kept", b"1")
    assert os.listdir(tmp_path) == ["kept"]
