"""`headway up` as a user runs it: real child processes, process runtime, one state directory."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from headway_tui.dumps import read
from support.up import APP, WITHIN, Up, begin, project, start
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The tasks of these tests."""
    with project() as path:
        yield path


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    """One stack for all tests of this file."""
    running = start(folder, "--tasks", "app.py")
    yield running
    if running.process.poll() is None:
        running.stop()


def test_a_task_of_the_watched_file_runs_and_its_result_is_printed(up: Up) -> None:
    assert set(up.facts["tasks"]) == {"greet", "count"}
    done = up.headway("run", "greet", "name=ana")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == "hello ana"
    assert "succeeded" in done.stderr
    assert "greeting ana" in done.stderr


def test_a_queue_named_by_a_task_is_served(up: Up) -> None:
    assert up.result("count", "to=3") == [0, 3]


def test_ls_show_logs_and_result_tell_of_it_afterwards(up: Up) -> None:
    up.result("greet", "name=bo")
    row = up.runs("--task", "greet", "--limit", "1")[0]
    assert row["status"].lower() == "succeeded"
    shown = up.headway("show", row["run"])
    assert shown.returncode == 0, shown.stderr
    assert "Timeline" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "greeting bo" in up.headway("logs", row["run"]).stdout
    assert json.loads(up.headway("result", row["run"]).stdout) == "hello bo"
    watched = up.headway("watch", row["run"])
    assert (watched.returncode, "succeeded" in watched.stdout) == (0, True)


def test_what_is_watched_as_json_names_the_task_and_a_dump_has_output_and_states(
    up: Up, tmp_path: Path
) -> None:
    run = up.headway("enqueue", "count", "to=2").stdout.strip()
    assert up.headway("result", run, "--wait").returncode == 0
    told = [json.loads(line) for line in up.headway("watch", run, "--json").stdout.splitlines()]
    assert {line["task"] for line in told} == {"count"}
    plain = up.headway("watch", run, "--plain").stdout
    assert plain.isascii()
    assert [line.split()[2] for line in plain.splitlines()] == [e["event"]["kind"] for e in told]
    done = up.headway("watch", run, "--dump")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "dump.jsonl"
    file.write_text(done.stdout)
    lines = [moment.line for moment in read(file)]
    assert [line.event.kind for line in lines if line.event] == [e["event"]["kind"] for e in told]
    states = {line.checkpoint.number: bytes(line.state) for line in lines if line.checkpoint}
    assert states == {1: b'{"n": 1}', 2: b'{"n": 2}'}


def test_refusals_have_their_exit_codes(up: Up) -> None:
    assert up.headway("run", "greet", "nome=x").returncode == 2
    assert up.headway("run", "no-such-task").returncode == 4
    assert up.headway("result", "01ARZ3NDEKTSV4RRFFQ69G5FAV").returncode == 4
    assert up.headway("show", "01ARZ3NDEKTSV4RRFFQ69G5FAV").returncode == 4
    # A run that does not exist would be watched without end.
    for verb in ("watch", "logs"):
        done = up.headway(verb, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        assert (done.returncode, done.stdout) == (4, "")
        assert "asked: nats://127.0.0.1:" in done.stderr
    run = up.headway("enqueue", "greet", "name=x").stdout.strip()
    assert up.headway("result", run, "--wait").returncode == 0
    assert up.headway("cancel", run).returncode == 3


def test_a_second_up_on_the_folder_is_refused_with_the_pid(up: Up) -> None:
    second = begin(up.folder)
    _, error = second.communicate(timeout=30)
    assert second.returncode == 4
    assert f"pid {up.process.pid}" in error


def test_a_paused_queue_holds_its_runs_until_it_is_resumed(up: Up) -> None:
    assert up.headway("queue", "pause", "default").returncode == 0
    run = up.headway("enqueue", "greet", "name=eve").stdout.strip()
    early = up.headway("result", run)
    assert early.returncode == 1
    assert "no result yet" in early.stderr
    assert up.headway("queue", "resume", "default").returncode == 0
    late = up.headway("result", run, "--wait", "--timeout", "30")
    assert json.loads(late.stdout) == "hello eve"


def test_a_cancelled_run_ends_and_a_replay_is_a_new_run(up: Up) -> None:
    run = up.headway("enqueue", "greet", "name=flo", "--delay", "1h").stdout.strip()
    assert up.headway("cancel", run, "--reason", "changed my mind").returncode == 0
    assert up.runs("--status", "cancelled")[0]["run"] == run
    assert up.headway("result", run).returncode == 1
    new = up.headway("replay", "run", run).stdout.strip()
    assert new != run
    assert json.loads(up.headway("result", new, "--wait").stdout) == "hello flo"


def test_a_fork_goes_on_from_a_checkpoint_with_an_edited_state(up: Up) -> None:
    run = up.headway("enqueue", "count", "to=3").stdout.strip()
    assert json.loads(up.headway("result", run, "--wait").stdout) == [0, 3]
    new = up.headway("fork", run, "--from", "#2", "--set", "payload.to=5")
    assert "from checkpoint #2 n-2" in new.stderr
    assert json.loads(up.headway("result", new.stdout.strip(), "--wait").stdout) == [2, 5]
    editor = up.folder / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i \'s/"n": 2/"n": 0/\' "$1"\n')
    editor.chmod(0o755)
    edit = ("fork", run, "--from", "name:n-2", "--edit")
    new = up.headway(*edit, env={"EDITOR": str(editor)})
    assert "n: 2 -> 0" in new.stderr, new.stderr
    assert json.loads(up.headway("result", new.stdout.strip(), "--wait").stdout) == [0, 3]
    assert "forked" in up.headway("watch", new.stdout.strip()).stdout
    editor.write_text("#!/bin/sh\necho '[]' > \"$1\"\n")
    new = up.headway(*edit, env={"EDITOR": str(editor)})
    assert (new.returncode, new.stdout) == (2, "")
    assert "an object became a list" in new.stderr
    assert up.headway("fork", run, "--from", "#9").returncode == 4
    assert up.headway("fork", run, "--from", "nine").returncode == 2
    assert up.headway("verify").returncode == 0


def test_doctor_finds_nothing_bad(up: Up) -> None:
    done = up.headway("doctor", "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, findings
    assert {"nats", "postgres", "engine", "agents"} <= {f["name"] for f in findings}
    assert all(f["state"] != "bad" for f in findings)


async def test_an_edit_is_served_without_a_restart(up: Up) -> None:
    app = up.folder / "app.py"
    app.write_text(APP.replace('SAYS = "hello"', 'SAYS = "good morning"'))
    try:
        await until(lambda: up.result("greet", "name=cy") == "good morning cy", WITHIN)
    finally:
        app.write_text(APP)
    await until(lambda: up.result("greet", "name=cy") == "hello cy", WITHIN)


def test_an_engine_that_dies_is_started_again(up: Up) -> None:
    os.kill(up.facts["pids"]["engine"], signal.SIGKILL)
    assert up.result("greet", "name=dee") == "hello dee"


async def test_a_run_goes_on_from_its_checkpoint_after_kill_9(up: Up) -> None:
    gate = up.folder / "gate"
    run = up.headway("enqueue", "count", "to=10", f"gate={gate}").stdout.strip()

    def events() -> list[dict[str, Any]]:
        return json.loads(up.headway("show", run, "--json").stdout)["events"]

    await until(lambda: sum(e["kind"] == "checkpoint" for e in events()) >= 3, WITHIN)
    # All of the agent's runners, waiting ones too: one of them is the run's.
    for child in psutil.Process(up.facts["pids"]["agent"]).children(recursive=True):
        child.kill()
    gate.touch()
    assert json.loads(up.headway("result", run, "--wait", "--timeout", "60").stdout) == [3, 10]


def test_sigterm_stops_everything_and_the_data_is_there_at_the_next_start(up: Up) -> None:
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) > 3
    before = {row["run"] for row in up.runs()}
    assert up.stop() == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not (up.folder / ".headway" / "client.toml").exists()

    again = start(up.folder)
    try:
        assert before <= {row["run"] for row in again.runs("--limit", "1000")}
    finally:
        assert again.stop() == 0


def test_a_killed_up_leaves_no_process_behind(folder: Path) -> None:
    up = start(folder, "--tasks", "app.py")
    up.result("greet", "name=gus")
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [p.cmdline() for p in alive]


def test_the_command_given_decides_how_up_ends(folder: Path) -> None:
    process = begin(folder, "--once-ready-cmd", "exit 7")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 7, error
    assert json.loads(out)["nats_url"]
