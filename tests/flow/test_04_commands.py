"""Every command against a running stack: data on stdout, words on stderr, JSON where asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headway_ops.commands import TABLE
from support.up import Up, project, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(240)

RUN, HELD, AGENT = "RUN", "HELD", "AGENT"
"""Stand for the id of a run that has ended, of one that waits, and of the agent."""
REPLAYS = ("ls", "plan", "explain", "status", "approve", "hold", "stop", "report", "compare")
"""They need a script, or its job."""
ELSEWHERE = {
    "up", "demo", "engine", "agent", "bench", "chaos", "trace", "tui", "ack", "dead", "metrics",
    "usage", "export", "open", "contexts", "edge backup", "edge kit", "edge restore", "sites",
    *(f"replay {verb}" for verb in REPLAYS),
}  # fmt: skip
"""Tested by themselves: they keep running, take minutes, write files, or need what failed."""
IMAGES = {"image build", "deploy"}
CALLS: dict[str, list[str]] = {
    "enqueue": ["greet", "name=al"],
    "run": ["greet", "name=bo"],
    "ls": [],
    "show": [RUN],
    "watch": [RUN],
    "logs": [RUN],
    "advice": ["greet"],
    "result": [RUN],
    "resume": [HELD],
    "cancel": [HELD],
    "tag": [RUN, "--add", "seen"],
    "fork": [RUN, "--from", "start"],
    "replay run": [RUN],
    "queue ls": [],
    "queue pause": ["slow"],
    "queue resume": ["slow"],
    "queue limit": ["slow", "3"],
    "agents": [],
    "agents drain": [AGENT, "--undo"],
    "check": ["app.py"],
    "deploy": ["-m", "app.py", "--process"],
    "doctor": [],
    "verify": [],
    "settings": [],
    "restored": [],
    "nats config": ["guarded", "--agent", "a1"],
    "edge join": ["hub.example.org", "--site", "berlin"],
}
TELLS_ONLY = {
    "restored",
    "cancel",
    "resume",
    "tag",
    "queue pause",
    "queue resume",
    "queue limit",
    "agents drain",
}
"""Print nothing but words for people, unless asked for JSON."""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with project() as folder:
        running = start(folder, "--tasks", "app.py")
        yield running
        running.stop()


@pytest.fixture(scope="module")
def ended(up: Up) -> str:
    run = up.headway("enqueue", "greet", "name=cy").stdout.strip()
    up.headway("result", run, "--wait")
    return run


@pytest.fixture
def held(up: Up) -> str:
    return one_held(up)


def one_held(up: Up) -> str:
    return up.headway("enqueue", "greet", "name=dee", "--delay", "1h").stdout.strip()


def test_every_command_is_walked() -> None:
    assert set(CALLS) | ELSEWHERE | IMAGES == set(TABLE)


@pytest.mark.parametrize("path", CALLS)
def test_stdout_is_data_and_stderr_is_for_people(path: str, up: Up, ended: str) -> None:
    known = {RUN: ended}
    if HELD in CALLS[path]:
        known[HELD] = one_held(up)
    if AGENT in CALLS[path]:
        known[AGENT] = json.loads(up.headway("agents", "--json").stdout)["agent"]
    words = [known.get(word, word) for word in CALLS[path]]
    if path == "resume":
        # It waits for its time: nothing that a person could decide.
        done = up.headway("resume", *words, "--json")
        assert (done.returncode, done.stdout) in {(3, ""), (4, "")} or json.loads(done.stdout)
        return
    machine = up.headway(*path.split(), *words, "--json")
    assert machine.returncode == 0, machine.stderr
    lines = [json.loads(line) for line in machine.stdout.splitlines()]
    assert lines
    assert all(isinstance(line, dict) for line in lines)
    if path == "cancel":
        return
    person = up.headway(*path.split(), *words)
    assert person.returncode == 0, person.stderr
    assert bool(person.stdout) != (path in TELLS_ONLY)
    assert "\x1b" not in person.stdout + person.stderr
    assert "{" not in person.stderr


@pytest.mark.parametrize("path", [p for p, words in CALLS.items() if RUN in words or HELD in words])
def test_an_unknown_run_leaves_stdout_empty(path: str, up: Up) -> None:
    done = up.headway(*path.split(), "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert done.stdout == ""
    assert done.stderr
    assert (done.returncode == 0) == (path == "cancel")  # kept for its enqueue


def test_a_failed_result_is_data_too(up: Up, held: str) -> None:
    up.headway("cancel", held)
    done = up.headway("result", held, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "cancelled"


def test_a_reader_that_has_seen_enough_is_no_error(up: Up) -> None:
    done = up.headway("enqueue", "greet", "name=x", "--count", "50", "--delay", "1h")
    assert len(done.stdout.split()) == 50
    for path in ("ls --json", "settings", "doctor"):
        piped = up.shell(f"headway {path} | head -1")
        assert piped.returncode == 0
        assert "Traceback" not in piped.stderr
        assert "Broken" not in piped.stderr


def test_runs_of_a_query_are_counted_confirmed_and_moved_by_a_job(up: Up) -> None:
    tag = ("--tag", "bulk")
    up.headway("enqueue", "greet", "name=z", "--count", "12", "--delay", "1h", *tag)
    query = ("--query", "tag:bulk")
    dry = json.loads(up.headway("cancel", *query, "--dry-run", "--json").stdout)
    assert (dry["matched"], dry["dry_run"]) == (12, True)
    assert up.headway("cancel", *query, "--yes").returncode == 4  # more than ten need the number
    assert up.headway("cancel", *query, "--yes", "--expect", "11").returncode == 3
    assert {r["status"] for r in up.runs("tag:bulk")} == {"delayed"}
    done = up.headway("cancel", *query, "--yes", "--expect", "12", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["matched"], told["done"], told["refused"], told["left"]) == (12, 12, {}, 0)
    assert {r["status"] for r in up.runs("tag:bulk")} == {"cancelled"}
    (job,) = told["jobs"]
    status = json.loads(up.headway("replay", "status", job, "--json").stdout)
    assert (status["row"]["state"], status["row"]["name"]) == ("done", "cancel tag:bulk")
    again = up.headway("cancel", *query, "--yes")
    assert (again.returncode, "0 runs" in again.stderr) == (0, True)


def test_tags_of_several_runs_and_of_a_query_change(up: Up, ended: str) -> None:
    held = one_held(up)
    done = up.headway("tag", ended, held[:20], "--add", "mine", "--add", "new", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["ok", "ok"]
    again = up.headway("tag", ended, "--add", "mine")
    assert (again.returncode, "tagged so already" in again.stderr) == (0, True)
    assert {r["run"] for r in up.runs("tag:mine")} == {ended, held}
    query = ("--query", "tag:mine status:succeeded", "--remove", "new", "--add", "golden")
    assert "would be tagged +golden -new" in up.headway("tag", *query, "--dry-run").stderr
    done = up.headway("tag", *query, "--yes", "--json")
    assert (json.loads(done.stdout)["done"], done.returncode) == (1, 0)
    assert {r["run"]: set(r["tags"]) for r in up.runs("tag:mine")} == {
        ended: {"mine", "golden"} | ({"seen"} & set(up.runs(f"id:{ended}")[0]["tags"])),
        held: {"mine", "new"},
    }
    shown = up.headway("show", ended).stdout
    assert "+golden -new  by" in shown
    for words in (("tag", ended, "--add", " "), ("tag", "--add", "x")):
        assert up.headway(*words).returncode == 2
    many = [word for k in range(32) for word in ("--add", f"t{k}")]
    refused = up.headway("tag", held, *many)
    assert (refused.returncode, "at most 32" in refused.stderr) == (4, True)
