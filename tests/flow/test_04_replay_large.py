"""A plan of a hundred thousand runs: `pytest -m nightly -s` prints its time and memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.engines import config_for, running_engine
from support.million import fill

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

SCRIPT = """
[select]
query = "status:ended"
limit = 100000
[replay]
from = "last"
[edit.state]
model = "haiku"
"""
SECONDS, MEGABYTES = 10.0, 200


async def test_a_dry_run_of_a_hundred_thousand_runs(
    nats: str, database: str, tmp_path: Path
) -> None:
    await fill(database, 101_900)
    file = tmp_path / "all.replay.toml"
    file.write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    words = [sys.executable, "-m", "headway_ops", "replay", "plan", str(file), "--json"]
    async with running_engine(config_for(nats, database)):
        begun = time.perf_counter()
        read, write = os.pipe()
        pid = await asyncio.to_thread(
            os.posix_spawn, sys.executable, words, env | {"HEADWAY_NATS_URL": nats},
            file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)],
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as out:
            told = json.loads(await asyncio.to_thread(out.read))
        _, code, usage = await asyncio.to_thread(os.wait4, pid, 0)
        took = time.perf_counter() - begun
    assert code == 0
    size = usage.ru_maxrss / 1024
    print(  # noqa: T201 - for whoever runs it with -s
        f"\n{told['items']:,} runs: {took:.1f} s of {SECONDS:g}, {size:.0f} MB of {MEGABYTES}"
    )
    assert 95_000 < told["items"] <= 100_000
    assert told["starts"] == {"#3": told["edited"], "start": told["items"] - told["edited"]}
    assert size <= MEGABYTES
    assert took <= SECONDS
