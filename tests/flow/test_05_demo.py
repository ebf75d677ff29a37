"""The README's first command, and a deployed image: what a newcomer sees works."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import pty_console
from support.docker import require_docker

pytestmark = pytest.mark.timeout(240)

APP = """
from headway import task


@task
async def add(a: int, b: int) -> int:
    return a + b
"""


def headway(*arguments: str, cwd: str | Path = "/") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "headway_ops", *arguments],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=160, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("runtime", "more"),
    [
        ("process", []),
        ("process", ["--edge"]),
        pytest.param("docker", [], marks=pytest.mark.docker),
    ],
)
def test_the_demo_kills_a_container_and_shows_that_its_run_went_on(
    runtime: str, more: list[str], tmp_path: Path
) -> None:
    if runtime == "docker":
        require_docker()
    done = headway(
        "demo",
        "--runtime",
        runtime,
        "--questions",
        "2",
        "--reports",
        str(tmp_path / "reports"),
        *more,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("docker kill" if runtime == "docker" else "kill -9") in done.stdout
    assert "went on from checkpoint #" in done.stdout
    assert "delivered 1 x" in done.stdout
    assert ("Postgres" in done.stdout) is not ("--edge" in more)
    reports = sorted(p.name for p in (tmp_path / "reports").iterdir())
    assert reports == ["report-1.md", "report-2.md"]


def test_the_demo_is_watched_in_the_console_and_told_when_that_is_closed() -> None:
    command = pty_console.headway("demo", "--runtime", "process", "--questions", "1", "--tui")
    opened = pty_console.Terminal(command, cwd="/")
    try:
        opened.seen("== ready; asking 1 questions", 60)
        opened.seen("research", 30)
        opened.seen("DONE 1", 90)
        assert b"kill -9" not in opened.output
        at = opened.press("\x11")
        opened.seen("kill -9", 30, at)
        opened.seen("== 1 runs succeeded", 30, at)
    finally:
        code = opened.close(b"")
    assert code == 0


def test_the_demo_says_what_the_console_lacks() -> None:
    done = headway("demo", "--tui")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


@pytest.mark.docker
def test_a_project_is_deployed_as_an_image_and_runs() -> None:
    require_docker()
    with tempfile.TemporaryDirectory(prefix="hwup-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "project").mkdir()
        (folder / "project" / "app.py").write_text(APP)
        command = (
            f"{sys.executable} -m headway_ops deploy -m app.py --path project"
            f" && {sys.executable} -m headway_ops run add a=20 b=22"
        )
        done = headway("up", "--runtime", "docker", "--once-ready-cmd", command, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "42"
