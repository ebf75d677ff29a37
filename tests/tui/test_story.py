"""A storm from the operator's chair: one run by hand in the console, fifty by the saved script."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from support.up import clean_environment, project, start
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from support.up import Up

APP = """
from msgspec import Struct

from headway import Retry, checkpoint, once, resume, task


class State(Struct):
    model: str = "sonnet"
    turn: int = 0


def send_email() -> str:
    return "sent"


@task(id="research-agent", queue="agents", state=State, retry=Retry(max_attempts=1))
async def research() -> dict[str, str]:
    s = await resume(State())
    await once("send-email", send_email)
    while s.turn < 3:
        s.turn += 1
        await checkpoint(f"iteration-{s.turn}", s)
    if s.model != "haiku":
        raise RuntimeError("429 too many requests")
    return {"model": s.model}
"""
EDITOR = """#!/bin/sh
sed -i 's/sonnet/haiku/' "$1"
"""


class Tmux:
    """A terminal of 120x40 that runs a shell line, and what is on its screen."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def __call__(self, *words: str) -> str:
        """A command of tmux; what it prints."""
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            capture_output=True, text=True, check=False, timeout=10, env=clean_environment(),
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        """What is on it."""
        return self("capture-pane", "-p")

    def keys(self, *names: str) -> None:
        """Press these, by tmux's names; what is no name is typed."""
        self("send-keys", *names)

    async def shows(self, *texts: str, within: float = 20.0) -> None:
        """Wait until all of these are on the screen."""
        await self.until(
            lambda screen: all(t in screen for t in texts), " and ".join(texts), within
        )

    async def until(self, test: Callable[[str], bool], what: str, within: float = 20.0) -> None:
        """Wait for something on the screen."""
        try:
            await until(lambda: test(self.screen()), within, what=what, every=0.1)
        except AssertionError:
            raise AssertionError(f"not on the screen: {what}\n{self.screen()}") from None


@contextmanager
def console(up: Up, folder: Path) -> Generator[Tmux]:
    """The console in tmux, in the project's folder, with an editor that changes the model."""
    editor = folder / "editor.sh"
    editor.write_text(EDITOR)
    editor.chmod(0o755)
    tmux = Tmux(folder / "tmux")
    # The variables would be believed more than the terminal's own size.
    own = f"XDG_STATE_HOME={folder} XDG_CACHE_HOME={folder}"
    words = f"env -u COLUMNS -u LINES EDITOR={editor} {own}"
    line = f"{words} {sys.executable} -m headway_ops tui"
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40",
         f"cd {up.folder}; {line}; read")  # fmt: skip
    try:
        yield tmux
    finally:
        tmux("kill-server")


async def failed(up: Up, count: int) -> None:
    """Wait until so many runs have failed."""

    def them() -> bool:
        return len(up.runs("status:failed", "--limit", "100")) == count

    await until(them, 60, what="failed", every=0.5)


async def typed(tmux: Tmux, hint: str, text: str) -> None:
    """Another value for the field under the cursor: the empty input shows its hint too."""
    tmux.keys("Enter")
    await tmux.shows(hint)
    tmux.keys("C-u")
    await tmux.until(lambda screen: screen.count(hint) == 2, f"{hint} in the empty field")
    tmux.keys(text, "Enter")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")
async def test_one_run_is_mended_by_hand_and_fifty_by_the_script_that_was_saved(
    tmp_path: Path,
) -> None:
    with project() as folder:
        (folder / "app.py").write_text(APP)
        up = start(folder, "--tasks", "app.py")
        try:
            up.headway("enqueue", "research-agent")
            await failed(up, 1)
            with console(up, tmp_path) as tmux:
                # Found, opened, forked from its second checkpoint with another model.
                await tmux.shows("FAIL", "iteration-3")
                tmux.keys("/", "status:failed task:research-agent", "Enter")
                await tmux.shows("/ status:failed", "1 run")
                tmux.keys("Enter")
                await tmux.shows("diff ◆3 iteration-3")
                tmux.keys("[")
                await tmux.shows("diff ◆2 iteration-2")
                tmux.keys("e")
                await tmux.shows("checkpoint #2", '"sonnet" → "haiku"', "It fits the task's state")
                tmux.keys("Enter")
                await tmux.shows("forked: ")

                # It succeeds, and stands beside its original.
                tmux.keys("Escape")
                await tmux.shows("/ status:failed")
                tmux.keys(":", "runs *", "Enter")
                await tmux.shows("✓ DONE", "✗ FAIL")
                tmux.keys("g", "g", "d")
                await tmux.shows("failed → succeeded", "(shared + edit)")

                # The same for all that fail so, as a script.
                tmux.keys("1", "g", "g")
                await typed(tmux, "runs, in the query", "status:dead task:research-agent")
                await tmux.shows("query    status:dead task:research-agent")
                tmux.keys("j", "j", "j", "j")
                await typed(tmux, "a JSON merge patch", 'model = "haiku"')
                await tmux.shows('state    state.model = "haiku"')
                tmux.keys("j", "j", "j", "j")
                await typed(tmux, "so many first", "3")
                await tmux.shows("canary   first 3")
                tmux.keys("D")
                await tmux.shows("1 run: 1 from ◆3", "1 x send-email kept")
                tmux.keys("w")
                await tmux.until(lambda _: (folder / "draft.replay.toml").exists(), "the script")
            up.headway("enqueue", "research-agent", "--count", "50")
            await failed(up, 51)
            said = up.headway("replay", "plan", "draft.replay.toml", "--json")
            plan = str(json.loads(said.stdout)["plan"])
            junit = tmp_path / "out.xml"
            done = up.headway(
                "replay", "run", "draft.replay.toml", "--plan", plan[:12], "--yes", "--follow",
                "--junit", str(junit),
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            assert "the canary passed its checks: approved" in done.stderr
            suite = ElementTree.parse(junit).getroot()
            assert (suite.get("tests"), suite.get("failures")) == ("51", "0")
        finally:
            up.stop()
