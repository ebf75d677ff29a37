"""Foreign text in a real terminal: whatever a task, a tag or an error says, nothing obeys it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from headway.errors import RunFailed
from headway.safe import safe_text
from headway.wire.fleet import Deployment
from support import terminal_tasks as tt
from support.live import live

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)

OURS = re.compile(r"\x1b\[[0-9;]*m")
"""Colours, as rich writes them."""
FEW = {"show", "show json", "logs", "result of a good run", "check"}
THEIRS = ("\x1b[38;5;201m", "\x1b[5m", "\x1b[7m", "\x1b[8m")
CHECKED = """
from headway import task

@task(id="{name}")
def bad_id() -> None: ...

@task
def typed(x: "\\x1b]52;c;ZXZpbA==\\x07\\u202e") -> None: ...

raise ValueError({corpus!r})
"""


async def on_terminal(nats: str, *arguments: str, cwd: Path) -> str:
    """What a command writes to its terminal, stdout and stderr alike."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    env |= {"HEADWAY_NATS_URL": nats, "TERM": "xterm-256color", "COLUMNS": "100"}
    env |= {"PYTHONIOENCODING": "utf-8", "HEADWAY_REQUEST_TIMEOUT": "5"}
    inner, outer = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headway_ops", *arguments,
        stdin=outer, stdout=outer, stderr=outer, env=env, cwd=cwd,
    )  # fmt: skip
    os.close(outer)
    data = bytearray()

    def read_all() -> None:
        while True:
            try:
                piece = os.read(inner, 65536)
            except OSError:  # the last writer is gone
                return
            if not piece:
                return
            data.extend(piece)

    await asyncio.wait_for(asyncio.to_thread(read_all), 40)
    os.close(inner)
    await process.wait()
    return data.decode("utf-8", "surrogateescape")


def obeyed(shown: str) -> list[str]:
    """What in it a terminal would do, but for our own colours and ends of lines."""
    bad = [code for code in THEIRS if code in shown]
    text = OURS.sub("", shown).replace("\r\n", "\n")
    return bad + sorted({repr(c) for c in text if safe_text(c) != c})


@pytest.mark.parametrize("commands_run", ["few", pytest.param("all", marks=pytest.mark.nightly)])
async def test_no_foreign_escape_reaches_a_terminal(
    nats: str, database: str, tmp_path: Path, commands_run: str
) -> None:
    async with live(nats, database, agent={"slots": 4}) as stack:
        shutil.copy(tt.__file__, stack.folder / "src" / "terminal_tasks.py")
        specs = [replace(t.spec(), module="") for t in tt.all_tasks()]
        what = Deployment(
            "\x1b[2Jv1", specs, modules=("terminal_tasks",), source=str(stack.folder / "src"),
            dev=True,
        )  # fmt: skip
        await stack.client.api("deploy", what, dict)
        tags = [c[:200] for c in tt.CORPUS if c.strip() and "\0" not in c]
        run = await stack.start(tt.t_says, tt.ALL, tags=tags[:30], key="k\x1b[2J\u202e\x9b5m")
        with pytest.raises(RunFailed):
            await run.result(30)
        fine = await stack.start(tt.t_returns, tt.ALL)
        assert await fine.result(30) == {"value": tt.ALL, tt.ALL[:100]: 1}
        (tmp_path / "bad.py").write_text(
            CHECKED.format(name="x\x1b[2J", corpus=tt.ALL), encoding="utf-8"
        )
        told: dict[str, list[str]] = {
            "ls": ["ls"],
            "ls json": ["ls", "--json"],
            "ls by text": ["ls", "--text", "\x1b[2J\x9b"],
            "show": ["show", run.id],
            "show json": ["show", run.id, "--json"],
            "watch": ["watch", run.id],
            "watch json": ["watch", run.id, "--json"],
            "logs": ["logs", run.id],
            "logs json": ["logs", run.id, "--json"],
            "result": ["result", run.id],
            "result json": ["result", run.id, "--json"],
            "result of a good run": ["result", fine.id],
            "show of a good run": ["show", fine.id],
            "no such run": ["show", "\x1b[2J\x9b31mX"],
            "run": ["run", "t-returns", 'text="\\u001b[2J\\u009b5m\\u202e"'],
            "queues": ["queue", "ls"],
            "agents": ["agents"],
            "deployments": ["deployments"],
            "doctor": ["doctor"],
            "check": ["check", "bad.py"],
            "check json": ["check", "bad.py", "--json"],
        }
        names = [n for n in told if commands_run == "all" or n in FEW]
        gate = asyncio.Semaphore(2)

        async def one(name: str) -> str:
            async with gate:
                return await on_terminal(nats, *told[name], cwd=tmp_path)

        shown = dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    found = {name: bad for name, text in shown.items() if (bad := obeyed(text))}
    assert not found
    # They did show it: as text that can be read.
    for name in {"show", "logs", "watch", "result", "check"} & set(names):
        assert "\\x1b" in shown[name], name
    for name in {"ls json", "show json", "logs json", "watch json", "result json"} & set(names):
        values = [json.loads(line) for line in shown[name].splitlines() if line.startswith("{")]
        assert values, name
        assert "\x1b" in json.dumps(values, ensure_ascii=False).encode().decode(
            "unicode_escape", "ignore"
        ), name
    last = json.loads(shown["result of a good run"])
    assert last["value"] == tt.ALL, "a program reads what the task returned"
