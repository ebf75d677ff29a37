"""`headway chaos` as a user runs it: on the `headway up` of a folder, with a task of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway_ops.chaos.command import Options, run
from headway_ops.chaos.local import find, part_of
from headway_ops.say import Exit, Fail
from support.up import clean_environment, project, start

if TYPE_CHECKING:
    from pathlib import Path

TASK = """
import asyncio

from headway import checkpoint, once, resume, task, token


async def pay(cents: int) -> str:
    await asyncio.sleep(0.05)
    return token()


@task
async def order(cents: int) -> list[str]:
    paid = await resume([], type=list[str])
    if not paid:
        await checkpoint("begun", paid)
        paid.append(await once("pay", pay, cents, on_ambiguous="rerun"))
        await checkpoint("paid", paid)
    return paid
"""


def chaos(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway_ops", "chaos", *words],
        cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "more", [(), pytest.param(("--edge",), id="edge", marks=pytest.mark.nightly)]
)
def test_a_task_of_ones_own_survives_while_its_stack_is_killed(more: tuple[str, ...]) -> None:
    with project() as folder:
        (folder / "app.py").write_text(TASK)
        up = start(folder, "--tasks", "app.py", *more)
        try:
            if more:
                none = chaos(folder, "--kill", "postgres", "--yes")
                assert (none.returncode, "an edge has none" in none.stderr) == (2, True)
            done = chaos(
                folder, "cents=5", "--for", "6s", "--every", "0.7s", "--kill", "engine,task,nats",
                "--seed", "3", "--json",
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            said = json.loads(done.stdout)
            assert said["runs"] >= 10
            assert set(said["status"]) == {"succeeded"}
            assert {k.split(" ")[0] for k in said["faults"]} == {"engine", "task", "nats"}
            wrong = chaos(folder, "--task", "ordr", "--yes")
            assert (wrong.returncode, "one of order" in wrong.stderr) == (2, True)
        finally:
            assert up.stop() == 0
        assert "engine was ended by SIGKILL; starting it again" in up.error


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_minute_of_everything_and_headway_verify_says_ok() -> None:
    with project() as folder:
        (folder / "app.py").write_text(TASK)
        up = start(folder, "--tasks", "app.py")
        try:
            done = chaos(folder, "cents=5", "--for", "60s")
            assert done.returncode == 0, done.stdout + done.stderr
            verified = up.headway("verify")
            assert verified.returncode == 0, verified.stdout + verified.stderr
        finally:
            up.stop()


def test_nothing_is_killed_that_is_no_headway_up_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Fail, match="no `headway up` runs in this folder or above") as refused:
        find()
    assert refused.value.code == Exit.REFUSED
    left = tmp_path / ".headway"
    left.mkdir()
    (left / "client.toml").write_text('nats_url = "nats://127.0.0.1:1"\n')
    (left / "lock").write_text("1\n")
    with pytest.raises(Fail, match="does not run any more"):
        find()
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://127.0.0.1:4222")
    with pytest.raises(Fail, match="may be anybody's"):
        find()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(duration="soon"), "duration"),
        (Options(every="0s"), "--every 0s"),
        (Options(kinds="engine,cat"), "--kill 'cat'"),
        (Options(rate=0.0), "--rate 0"),
        (Options(parameters=("cents",)), "'cents' is no parameter"),
    ],
)
def test_what_cannot_be_meant_is_said(options: Options, said: str) -> None:
    with pytest.raises(Fail, match=said) as refused:
        run(options, as_json=False)
    assert refused.value.code == Exit.USAGE


def test_a_part_is_known_by_its_command_line() -> None:
    assert part_of(["/v/bin/python", "-m", "headway_ops", "engine", "--config", "x"]) == "engine"
    assert part_of(["/v/bin/nats-server", "-c", "nats.conf"]) == "nats"
    assert part_of(["/tree/bin/postgres", "-D", "data"]) == "postgres"
    assert part_of(["/v/bin/python", "-m", "headway_ops", "show", "engine"]) == ""
    assert part_of(["postgres: checkpointer"]) == ""
    assert part_of([]) == ""
