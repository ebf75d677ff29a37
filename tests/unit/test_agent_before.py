"""What an agent refuses before it connects: a folder of another one, a provider file unfit."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from headway_engine.agent.before import AgentCannotStart, hold
from headway_engine.agent.config import AgentConfig
from headway_engine.assembly_agent import AgentProcess
from headway_engine.config import Config, NatsConfig

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

HOLD = (
    "import sys; from headway_engine.agent.before import hold\n"
    "lock = hold(sys.argv[1]); print('held', flush=True); sys.stdin.read()\n"
)
NOBODY = NatsConfig("nats://127.0.0.1:1")


@contextmanager
def held(folder: Path) -> Generator[subprocess.Popen[str]]:
    """Another process that has this folder as an agent has it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


async def test_a_second_agent_in_a_folder_is_refused_before_it_looks_for_nats(
    tmp_path: Path,
) -> None:
    config = Config(NOBODY, agent=AgentConfig(str(tmp_path / "s"), runtime="process"))
    with held(tmp_path / "s") as other:
        with pytest.raises(AgentCannotStart) as e:
            await AgentProcess(config).run()
        said = str(e.value)
        assert str(tmp_path / "s") in said
        assert f"pid {other.pid}" in said
        assert "agent.state_dir" in said


async def test_an_agent_gives_its_folder_back(tmp_path: Path) -> None:
    config = Config(NOBODY, agent=AgentConfig(str(tmp_path / "s"), runtime="process"))
    agent = AgentProcess(config)
    agent.stop()
    await agent.run()
    hold(str(tmp_path / "s")).close()


def test_what_a_killed_agent_left_holds_nobody_up(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    lock = hold(str(tmp_path))
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(AgentCannotStart, match=f"pid {os.getpid()}"):
        hold(str(tmp_path))
    lock.close()
    lock.close()
    hold(str(tmp_path)).close()


def test_a_runner_of_a_dead_agent_does_not_hold_its_folder(tmp_path: Path) -> None:
    lock = hold(str(tmp_path))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.close()
        hold(str(tmp_path)).close()


def test_the_command_says_who_has_the_folder(tmp_path: Path) -> None:
    with held(tmp_path) as other:
        env = os.environ | {
            "HEADWAY_AGENT_STATE_DIR": str(tmp_path), "HEADWAY_AGENT_RUNTIME": "process",
            "HEADWAY_NATS_URL": NOBODY.url,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "headway_ops", "agent"],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert f"{tmp_path} is in use by another agent (pid {other.pid})" in done.stderr
    assert "Traceback" not in done.stderr
