"""What a user called their folders, inside the settings files that we write."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

import pytest

from headway_ops.local.nats import NatsServer
from headway_ops.quoting import for_nats, for_toml
from headway_ops.say import Fail

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    "my projects",
    "Käse/Straße",
    "データ",
    "a \N{ROCKET} b",
    'say "no"',
    "a\\b",
    "$HOME #1",
    "a\tb\x7fc\x01d",
]


@pytest.mark.parametrize("name", NAMES)
def test_toml_reads_what_was_meant(name: str) -> None:
    assert tomllib.loads(f"x = {for_toml(name)}") == {"x": name}
    assert tomllib.loads(f"x = {for_toml([name, 1, True])}") == {"x": [name, 1, True]}


@pytest.mark.parametrize("name", NAMES)
async def test_a_local_nats_server_works_in_any_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "nats"
    folder.mkdir(parents=True)
    server = NatsServer(folder)
    await server.start()
    await server.stop()
    assert (folder / "store" / "jetstream").is_dir()


def test_a_name_that_is_not_utf8_is_refused_with_the_name() -> None:
    name = os.fsdecode(b"/srv/\xff\xfe")
    for quoted in (for_nats, for_toml):
        with pytest.raises(Fail, match=r"/srv/.*: not UTF-8"):
            quoted(name)
