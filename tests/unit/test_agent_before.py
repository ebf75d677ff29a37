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
from headway_engine.agent.provider import BadProviderFile, NotProvided, Provider, too_open
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


def given(folder: Path, text: str | bytes, mode: int = 0o600, name: str = "given.env") -> Path:
    """A provider file."""
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


def refusal(file: Path) -> str:
    """What is said of it; a refusal names the file."""
    with pytest.raises(BadProviderFile) as e:
        Provider(file).check()
    said = str(e.value)
    assert f"agent.provider_file {file}" in said
    return said


def test_a_provider_file_that_is_not_there_is_refused_with_what_belongs_into_it(
    tmp_path: Path,
) -> None:
    said = refusal(tmp_path / "none.env")
    assert "is not there" in said
    assert "NAME=value" in said
    assert "0600" in said


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622, 0o601])
def test_a_provider_file_that_others_can_read_is_refused_and_nothing_of_it_is_told(
    tmp_path: Path, mode: int
) -> None:
    file = given(tmp_path, "API_KEY=s3cr3t\n", mode)
    os.chown(file, os.geteuid(), os.getegid())
    said = refusal(file)
    assert f"{mode:04o}" in said
    assert f"chmod 600 {file}" in said
    assert "s3cr3t" not in said
    file.chmod(0o400)
    Provider(file).check()


def test_a_provider_file_of_root_may_be_read_through_its_group() -> None:
    assert not too_open(0o640, owner=0, reader=1000)
    assert too_open(0o660, owner=0, reader=1000)
    assert too_open(0o644, owner=0, reader=1000)
    assert too_open(0o640, owner=0, reader=0)
    assert too_open(0o640, owner=1000, reader=1000)


def test_a_provider_file_that_cannot_be_read_is_refused_with_the_user_who_reads(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    said = refusal(tmp_path / "folder")
    assert "cannot be read: Is a directory" in said
    assert f"user {os.geteuid()}" in said


def test_a_provider_file_that_makes_no_sense_is_refused_without_its_content(
    tmp_path: Path,
) -> None:
    assert "is no TOML" in refusal(given(tmp_path, "KEY=s3cr3t", name="given.toml"))
    assert "s3cr3t" not in refusal(given(tmp_path, "KEY=s3cr3t", name="given.toml"))
    assert "UTF-8" in refusal(given(tmp_path, b"KEY=\xff\xfe"))


def test_what_was_checked_is_what_tasks_get(tmp_path: Path) -> None:
    Provider("").check()
    provider = Provider(given(tmp_path, "API_KEY=one\n"))
    provider.check()
    assert provider.resolve(("API_KEY",)) == {"API_KEY": "one"}
    with pytest.raises(NotProvided, match="OTHER"):
        provider.resolve(("API_KEY", "OTHER"))


async def test_an_agent_with_a_bad_provider_file_does_not_start(tmp_path: Path) -> None:
    file = given(tmp_path, "API_KEY=x\n", 0o644)
    config = AgentConfig(str(tmp_path / "s"), runtime="process", provider_file=str(file))
    with pytest.raises(BadProviderFile, match="chmod 600"):
        await AgentProcess(Config(NOBODY, agent=config)).run()
    assert not (tmp_path / "s").exists()
