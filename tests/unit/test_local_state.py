from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway.discovery import variables
from headway_ops.local import roles
from headway_ops.local.stack import Plan, Stack, nats_port
from headway_ops.local.state import StateDir
from headway_ops.say import Exit, Fail
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_up_on_the_same_folder_names_the_pid_of_the_first(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from headway_ops.local.state import StateDir\n"
        "StateDir(Path(sys.argv[1])).open(); print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as first:  # fmt: skip
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(Fail, match=f"pid {first.pid}") as e:
            StateDir(tmp_path).open()
        assert e.value.code == Exit.REFUSED
        first.kill()
    # A crash leaves nothing behind that would have to be cleaned up.
    again = StateDir(tmp_path)
    again.open()
    assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    again.close()


def test_a_newer_format_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("2\n")
    with pytest.raises(Fail, match="format") as e:
        StateDir(tmp_path).open()
    assert e.value.code == Exit.REFUSED
    assert (tmp_path / "FORMAT").read_text() == "2\n"
    (tmp_path / "FORMAT").write_text("1\n")
    StateDir(tmp_path).open()  # the refusal gave the lock back


def test_clients_find_it_while_it_runs_and_not_after(tmp_path: Path) -> None:
    state = StateDir(tmp_path / ".headway")
    state.open()
    state.say_where("nats://127.0.0.1:5555", "dev")
    found = variables(tmp_path)
    assert found == {"HEADWAY_NATS_URL": "nats://127.0.0.1:5555", "HEADWAY_NAMESPACE": "dev"}
    state.close()
    state.close()
    assert variables(tmp_path) == {}


def test_git_never_sees_the_state(tmp_path: Path) -> None:
    state = StateDir(tmp_path / ".headway")
    state.open()
    assert (tmp_path / ".headway" / ".gitignore").read_text() == "*\n"
    state.close()


def test_an_asked_port_that_is_taken_is_an_error_and_the_default_gives_way() -> None:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = s.getsockname()[1]
        with pytest.raises(Fail, match=f"port {taken} is taken"):
            nats_port(taken)
        assert nats_port(0) != taken


async def test_a_port_that_is_taken_between_look_and_start_is_left_to_its_owner(
    tmp_path: Path,
) -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        taken = owner.getsockname()[1]
        stack = Stack(StateDir(tmp_path), Plan(), lambda _text: None)
        stack.nats.port = taken
        owner.listen()
        try:
            await stack._start_nats()  # pyright: ignore[reportPrivateUsage] the race itself
            assert stack.nats.running
            assert stack.nats.port not in {0, taken}
            await stack.nats.stop()
            stack.plan.port = stack.nats.port = taken
            with pytest.raises(Fail, match=f"port {taken} is taken"):
                await stack._start_nats()  # pyright: ignore[reportPrivateUsage] the race itself
        finally:
            await stack.nats.stop()


def test_docker_host_is_heeded() -> None:
    # In a process of its own: docker-py leaves the socket of a failed connect open.
    pick = (
        "from headway_ops.local.up import pick_runtime; from headway_ops.say import Fail\n"
        "print(pick_runtime('auto'))\n"
        "try: pick_runtime('docker')\n"
        "except Fail as e: print(e.what, e.todo, sep=chr(10))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", pick], capture_output=True, text=True, check=True,
        env={**os.environ, "DOCKER_HOST": "unix:///nonexistent"},
    )  # fmt: skip
    runtime, what, todo = done.stdout.splitlines()
    assert runtime == "process"
    assert "unix:///nonexistent" in what
    assert "--runtime process" in todo


async def test_what_ended_is_started_again_and_both_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "CHECK_EVERY", 0.001)
    monkeypatch.setattr(roles, "BACKOFF", (0.001,))

    server, said = Server(fails=1, dies=0), list[str]()
    task = asyncio.create_task(roles.keep_alive("postgres", server, said.append))
    await until(lambda: server.running and len(said) == 3)
    task.cancel()
    assert said == [
        "postgres was ended by SIGKILL; starting it again in 0.001 s",
        "postgres: no room on the disk",
        "postgres runs again (pid 7)",
    ]


async def test_what_ends_right_after_each_start_is_given_up_with_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "CHECK_EVERY", 0.001)
    monkeypatch.setattr(roles, "BACKOFF", (0.001,))
    server, said = Server(fails=2, dies=1000), list[str]()
    with pytest.raises(roles.GivesUp, match=r"engine ended 10 times .*\n.*bad key in line 3"):
        await roles.keep_alive("engine", server, said.append)
    assert server.starts == roles.TRIES
    # One that lives for a while in between is never given up.
    monkeypatch.setattr(roles, "QUICK", 0.0)
    server, said = Server(fails=0, dies=30), list[str]()
    task = asyncio.create_task(roles.keep_alive("engine", server, said.append))
    await until(lambda: server.starts > 30 and server.running)
    task.cancel()


class Server:
    """A part that does not start a few times, then ends right after its start a few times."""

    pid, ended = 7, "was ended by SIGKILL"

    def __init__(self, fails: int, dies: int) -> None:
        self.starts, self.fails, self.dies = 0, fails, dies

    @property
    def running(self) -> bool:
        """Only in the end."""
        return self.starts > self.fails + self.dies

    async def start(self) -> None:
        """Count."""
        self.starts += 1
        if self.starts <= self.fails:
            raise OSError("no room on the disk")

    async def stop(self) -> None:
        """Nothing."""

    def tail(self) -> str:
        """Its log."""
        return "bad key in line 3"


@pytest.mark.parametrize(("first", "second"), [("edge", "server"), ("server", "edge")])
def test_a_folder_of_one_mode_refuses_the_other(tmp_path: Path, first: str, second: str) -> None:
    made = StateDir(tmp_path, first)
    made.open()
    made.close()
    with pytest.raises(Fail, match=f"made in '{first}' mode") as e:
        StateDir(tmp_path, second).open()
    assert e.value.code == Exit.REFUSED
    assert e.value.todo.startswith("headway up")
    again = StateDir(tmp_path, first)
    again.open()
    again.close()


def test_a_folder_from_before_the_modes_is_a_servers(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(Fail, match="kept in Postgres"):
        StateDir(tmp_path, "edge").open()
    StateDir(tmp_path).open()
