"""`.github/terminal.svg`: `headway watch` on a run whose container is killed half-way.

`PYTHONPATH=tests python tests/tui/terminal_picture.py [FILE]`, where Docker is: it takes what a
real stack does and what a terminal shows of it.
"""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from headway.client import Client
from headway.config import from_environment
from support.up import Up, clean_environment, project, start

ROOT = Path(__file__).parents[2]
COLUMNS = 80
AFTER = 4
"""The checkpoint after which the container is killed."""
_BLACK, _WHITE = (24, 26, 31), (212, 215, 221)
THEME = TerminalTheme(
    _BLACK, _WHITE,
    [_BLACK, (224, 108, 100), (120, 190, 110), (229, 192, 90), (97, 160, 235), (190, 130, 220),
     (86, 182, 194), _WHITE],
)  # fmt: skip
"""The colours of `headway-dark`."""


async def killed(up: Up) -> str:
    """A run whose container was killed after its fourth checkpoint, and that has ended; its id."""
    up.result("tides", "hours=1", "pace=0")  # the first container of a stack comes late
    run = up.headway("enqueue", "tides", "hours=6", "pace=0.5").stdout.strip()
    container = ""
    async with await Client.open(
        from_environment({"HEADWAY_NATS_URL": up.facts["nats_url"]})
    ) as client:
        async for event in client.handle(run).events():
            if event.kind == "started":
                container = str(event.data["container"])
            elif event.kind == "checkpoint" and event.data["number"] == AFTER:
                kill = await asyncio.create_subprocess_exec(
                    "docker", "kill", container, stdout=subprocess.DEVNULL
                )
                assert await kill.wait() == 0
    return run


def watched(up: Up, run: str) -> str:
    """What `headway watch` writes to a terminal, colours and all."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "headway_ops", "watch", run[:12]], cwd=up.folder,
        stdin=slave, stdout=slave, stderr=slave, close_fds=True,
        env=clean_environment() | {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS)},
    ):  # fmt: skip
        os.close(slave)
        said = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
    os.close(master)
    return said.decode().replace("\r\n", "\n")


def draw(file: Path) -> None:
    """Write the picture."""
    with project() as folder:
        folder.chmod(0o755)  # the container's user reads the tasks there
        shutil.copy(ROOT / "ops" / "examples" / "hello.py", folder / "app.py")
        up = start(folder, "--tasks", "app.py", "--runtime", "docker")
        try:
            run = asyncio.run(killed(up))
            said = watched(up, run)
        finally:
            up.stop()
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ headway watch {run[:12]}", style="bold"))
    console.print(Text.from_ansi(said.rstrip()))
    title = "a container is killed, the run goes on"
    # No font is fetched from anywhere: that of whoever looks will do.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
    form = form.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas")
    told = console.export_svg(title=title, theme=THEME, code_format=form, unique_id="hw")
    file.write_text("\n".join(line.rstrip() for line in told.splitlines() if line.strip()) + "\n")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".github" / "terminal.svg")
