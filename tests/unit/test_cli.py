from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway_ops import link, say, steering
from headway_ops.cli import hoisted

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    "up", "demo", "engine", "agent", "enqueue", "run", "ls", "show", "watch", "logs", "trace",
    "dead", "ack", "tag", "result", "cancel", "resume", "fork", "replay", "queue", "agents",
    "check", "deploy", "image", "doctor", "bench",
]  # fmt: skip


def headway(*arguments: str, code: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}
    start = code + "from headway_ops.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        capture_output=True, text=True, cwd="/", timeout=50, check=False,
        env={**clean, "COLUMNS": "80", **env},
    )  # fmt: skip


def test_help_lists_every_command_and_the_exit_codes() -> None:
    done = headway("--help")
    assert done.returncode == 0
    _usage, *described = done.stdout.splitlines()
    assert not [line for line in described if line.endswith("...")]  # no description is cut
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(COMMANDS) <= listed
    for word in ("1 failed", "2 usage", "3 world changed", "4 refused", "5 no link"):
        assert word in " ".join(done.stdout.split())


def test_help_fits_eighty_columns() -> None:
    for path in ([], ["enqueue"], ["up"], ["ls"], ["queue"], ["deploy"]):
        done = headway(*path, "--help")
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("ls --nats-url nats://x", "--nats-url nats://x ls"),
        ("ls --namespace=a --json", "--namespace=a ls --json"),
        ("--nats-url u run t a=1", "--nats-url u run t a=1"),
        ("run t -- --nats-url", "run t -- --nats-url"),
        ("ls --nats-url", "--nats-url ls"),
    ],
)
def test_options_of_every_command_may_stand_behind_it(given: str, read: str) -> None:
    assert hoisted(given.split()) == read.split()


def test_groups_hold_all_their_commands() -> None:
    for group, commands in (("queue", {"ls", "pause", "resume", "limit"}), ("agents", {"drain"})):
        done = headway(group, "--help")
        listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
        assert commands <= listed


def test_help_loads_nothing_slow() -> None:
    probe = (
        "import atexit, sys\n"
        "slow = {'rich', 'nats', 'asyncio', 'asyncpg', 'docker', 'textual', 'headway.client'}\n"
        "atexit.register(lambda: print('LOADED', sorted(slow & set(sys.modules))))\n"
    )
    assert "LOADED []" in headway("--help", code=probe).stdout


def test_without_typer_the_command_says_which_extra_to_install() -> None:
    hide = "import sys; sys.modules['typer'] = None\n"
    done = headway(code=hide)
    assert done.returncode == 2
    assert "pip install 'headway[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_of_one_command_is_named() -> None:
    hide = "import sys; sys.modules['docker'] = None\n"
    done = headway("image", "build", "/tmp", code=hide)
    assert done.returncode == 2
    assert "pip install 'headway[engine]'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["enqueue"], ["ls", "--status", "nonsense"], ["show", "no!id"],
     ["enqueue", "t", "notkeyvalue"], ["enqueue", "t", "--payload", "[1]"],
     ["enqueue", "Bad.Name"], ["resume", "01JD9K4W2M", "--once", "k=maybe"],
     ["enqueue", "t", "--delay", "soon"], ["enqueue", "t", "--priority", "5000"]],
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_one_clear_line(arguments: list[str]) -> None:
    done = headway(*arguments, HEADWAY_NATS_URL="nats://127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_no_answer_ends_with_5_and_says_where_and_what_to_do() -> None:
    done = headway("ls", HEADWAY_NATS_URL="nats://me:secret@127.0.0.1:1",
                   HEADWAY_CONNECT_TIMEOUT="0.5")  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "headway up" in done.stderr
    assert "secret" not in done.stderr


def test_an_error_says_which_server_was_asked_and_who_chose_it(tmp_path: Path) -> None:
    chosen = headway("ls", HEADWAY_NATS_URL="nats://127.0.0.1:1", HEADWAY_CONNECT_TIMEOUT="0.5")
    assert "asked: nats://127.0.0.1:1, namespace default (from HEADWAY_NATS_URL)" in chosen.stderr
    # In a folder without a `headway up`, 4222 may be anybody's.
    assert "the default: no `headway up` runs in this folder or above" in link.source(tmp_path)
    (tmp_path / ".headway").mkdir()
    file = tmp_path / ".headway" / "client.toml"
    file.write_text('nats_url = "nats://127.0.0.1:1"\n')
    assert link.source(tmp_path) == f"from {file}"


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "headway queue pa", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "headway queue pa"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "headway queue pa",
                  "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)  # fmt: skip
def test_shells_complete_commands(shell: str, words: dict[str, str]) -> None:
    script = headway(_HEADWAY_COMPLETE=f"source_{shell}")
    assert (script.returncode, f"complete_{shell}" in script.stdout) == (0, True)
    done = headway(_HEADWAY_COMPLETE=f"complete_{shell}", **words)
    assert "pause" in done.stdout
    assert "resume" not in done.stdout


def test_every_command_that_prints_data_prints_it_as_json_too() -> None:
    from headway_ops.commands import TABLE, function

    keeps_running = {"demo", "engine", "agent", "tui"}
    without = {
        path for path in TABLE if "as_json" not in inspect.signature(function(path)).parameters
    }
    assert without == keeps_running


def test_the_version_is_the_package_s() -> None:
    from headway._version import __version__

    assert headway("--version").stdout == f"headway {__version__}\n"


@pytest.mark.parametrize("words", [["task_file.py"], ["task_file.py", "--json"]])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, words: list[str]) -> None:
    task = "from headway import task\n\n@task\nasync def t(n: int) -> int:\n    return n\n"
    (tmp_path / "task_file.py").write_text(task)
    process = subprocess.Popen(
        [sys.executable, "-c", "from headway_ops.cli import main; main()", "check", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(50), error) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["settings"], ["--help"], ["check", "--json", "task_file.py"]])
def test_a_full_disk_under_stdout_is_said_in_one_line(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "task_file.py").write_text("x = 1\n")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headway_ops", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "headway: No space left on device",
        "  try: make room there (`df -h` says how much is left)",
    ]


@pytest.mark.parametrize("closed", ["1", "2", "0, 1, 2"])
def test_a_closed_descriptor_is_as_if_it_were_dev_null(tmp_path: Path, closed: str) -> None:
    out = tmp_path / "out"
    script = (
        f"import os\nfor fd in ({closed},): os.close(fd)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'headway_ops', 'contexts'])"
    )
    with out.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys\n{script}"], stdout=file, stderr=file, check=False
        )
    assert done.returncode == 0
    assert "Error" not in out.read_text()


def test_messages_that_nobody_reads_do_not_change_the_exit_code(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "headway_ops", "show", "x"], stderr=write, cwd=tmp_path, check=False
    )
    os.close(write)
    assert done.returncode == 2


def test_json_is_one_object_per_line_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    done = headway("check", str(tmp_path / "empty.py"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["tasks"] == []


def test_a_value_belongs_to_the_longest_key_that_is_set_done() -> None:
    decided = steering.decisions(["a=done", "a=b=done", "c=rerun", "d=fail"])
    assert decided == {"a": "done", "a=b": "done", "c": "rerun", "d": "fail"}
    values = steering.values_of(['a=b="x=y"', "a=1"], decided)
    assert {k: bytes(v) for k, v in values.items()} == {"a=b": b'"x=y"', "a": b"1"}
    for bad in ("c=1", "a=sent", "a", "b=1"):
        with pytest.raises(say.Fail) as refused:
            steering.values_of([bad], decided)
        assert refused.value.code == say.Exit.USAGE
