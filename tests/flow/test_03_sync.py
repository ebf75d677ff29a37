"""`headway.sync` from plain programs: no event loop in sight."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway import sync
from headway.errors import SyncInLoop
from support import body_tasks
from support.live import live

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import threading
from body_tasks import b_echo, b_size, b_stops
from headway import RunFailed, sync

run = sync.enqueue(b_echo, {"a": [1, 2]})
print("recorded", run.recorded)
print("result", sync.result(run, timeout=30))
print("call", sync.call(b_size, "four"))
print("options", sync.call(b_size.options(tags=["x"]), "three"))
try:
    sync.call(b_stops)
except RunFailed as e:
    print("failed", e.status, e.error_type)
same = [sync.enqueue(b_echo.options(key="k1"), 1) for _ in range(2)]
print("duplicate", same[1].duplicate, same[0].id == same[1].id)
sums = []
threads = [threading.Thread(target=lambda i=i: sums.append(sync.call(b_echo, i))) for i in range(5)]
for t in threads: t.start()
for t in threads: t.join()
print("threads", sorted(sums))
"""


async def test_a_plain_script_enqueues_calls_and_waits(nats: str, database: str, tmp_path: Path):
    async with live(nats, database) as stack:
        (tmp_path / "script.py").write_text(SCRIPT)
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")},
            "HEADWAY_NATS_URL": nats,
            "PYTHONPATH": str(stack.folder / "src"),
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "script.py"],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "recorded recorded",
            "result {'a': [1, 2]}",
            "call 4",
            "options 5",
            "failed failed StopRun",
            "duplicate True True",
            "threads [0, 1, 2, 3, 4]",
        ]
        assert done.stderr == ""


async def test_under_a_running_loop_it_says_to_await() -> None:
    with pytest.raises(SyncInLoop, match="await"):
        sync.call(body_tasks.b_echo, 1)
