from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from headway import config, discovery
from headway.errors import BadPolicy

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> None:
    (folder / ".headway").mkdir(parents=True, exist_ok=True)
    (folder / ".headway" / "client.toml").write_text(text)


def test_the_nearest_client_file_above_is_found(tmp_path: Path) -> None:
    write(tmp_path, 'nats_url = "nats://far:1"\n')
    write(tmp_path / "a", 'nats_url = "nats://near:2"\nnamespace = "dev"\n')
    (tmp_path / "a" / "b").mkdir()
    assert discovery.variables(tmp_path / "a" / "b") == {
        "HEADWAY_NATS_URL": "nats://near:2",
        "HEADWAY_NAMESPACE": "dev",
    }


def test_without_a_file_nothing_is_assumed(tmp_path: Path) -> None:
    assert discovery.variables(tmp_path) == {}


def test_a_variable_that_is_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'nats_url = "nats://file:1"\nnamespace = "dev"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://env:2")
    monkeypatch.delenv("HEADWAY_NAMESPACE", raising=False)
    settings = config.from_environment()
    assert (settings.nats_url, settings.namespace) == ("nats://env:2", "dev")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'nats_url = "nats://stranger:1"\n')
    os.chown(tmp_path / ".headway" / "client.toml", 12345, 12345)
    assert discovery.variables(tmp_path) == {}


@pytest.mark.parametrize("text", ["nats_url = 3\n", "nats_url = \n", "\udcff"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / ".headway").mkdir()
    path = tmp_path / ".headway" / "client.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadPolicy, match=r"client\.toml"):
        discovery.variables(tmp_path)
