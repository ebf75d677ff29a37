"""The journal of acknowledgements: what is written, when, and by several processes at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from headway import checkpoint, journal, once, step, task
from headway.errors import HeadwayError
from headway.testing import run
from headway.wire.frames import Ack, Checkpoint

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Generator[Path]:
    path = tmp_path / "journal"
    journal.open_journal(str(path))
    yield path
    journal.open_journal("")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@task
async def saves() -> str:
    await checkpoint("one", {"n": 1})
    await step("half", int, 4)
    return await once("pay", str.upper, "paid")


async def test_what_a_task_was_told_is_written(file: Path) -> None:
    assert await run(saves) == "PAID"
    found = lines(file)
    assert [(f["op"], f.get("kind"), f.get("key")) for f in found] == [
        ("checkpoint", None, None), ("mark", "step", "half"), ("mark", "once", "pay"),
    ]  # fmt: skip
    assert found[0]["sha256"] == sha256(b'{"n":1}').hexdigest()
    assert found[2]["sha256"] == sha256(b'"PAID"').hexdigest()
    assert len({f["run"] for f in found}) == 1


def test_only_what_was_acknowledged_is_written(file: Path) -> None:
    frame = Checkpoint(slot=1, seq=1, number=1, name="one", sha256="aa", size=1)
    loop = asyncio.new_event_loop()
    for outcome in ("stale_epoch", "frozen", "ok"):
        done: asyncio.Future[Ack] = loop.create_future()
        done.set_result(Ack(slot=1, seq=1, outcome=outcome))
        journal.saved("R", 1, frame, b"", done)
    lost: asyncio.Future[Ack] = loop.create_future()
    lost.cancel()
    journal.saved("R", 1, frame, b"", lost)
    failed: asyncio.Future[Ack] = loop.create_future()
    failed.set_exception(HeadwayError("no"))
    journal.saved("R", 1, frame, b"", failed)
    loop.close()
    assert [f["number"] for f in lines(file)] == [1]


def test_without_the_variable_nothing_is_written(file: Path) -> None:
    journal.open_journal("")
    assert not journal.armed
    journal.note("enqueue", run="R")
    assert lines(file) == []


def test_many_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    code = "from headway import journal\nfor i in range(500): journal.note('x', run='r' * 200, i=i)"
    env = {"HEADWAY_JOURNAL": str(path)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(3)]
    assert [p.wait(30) for p in started] == [0, 0, 0]
    found = lines(path)
    assert len(found) == 1500
    assert sorted(f["i"] for f in found) == sorted(list(range(500)) * 3)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        journal.open_journal(str(tmp_path / "nowhere" / "journal"))
    assert not journal.armed
