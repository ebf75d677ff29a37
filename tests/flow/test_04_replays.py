"""The example scripts of replays on a whole stack, by the command line: plan to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from support.up import project, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.up import Up

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples" / "replays"
FIX, TRIM, GOLDEN = (
    str(EXAMPLES / f"{name}")
    for name in ("fix-429.replay.toml", "trim_history.replay.py", "golden.replay.toml")
)
APP = """
from msgspec import Struct

from headway import Retry, checkpoint, once, resume, task


class State(Struct):
    model: str = "sonnet"
    turn: int = 0
    messages: list[int] = []


def send_email() -> str:
    return "sent"


@task(id="research-agent", queue="agents", retry=Retry(max_attempts=1))
async def research(fails: str = "", length: int = 20) -> dict[str, str]:
    s = await resume(State())
    await once("send-email", send_email)
    while s.turn < 2:
        s.turn += 1
        s.messages = list(range(length))
        await checkpoint(f"iteration-{s.turn}", s)
    if fails == "storm" and s.model != "haiku":
        raise RuntimeError("429 too many requests")
    if fails == "context" and len(s.messages) != 8:
        raise ValueError("context_length exceeded")
    return {"model": s.model}


@task(queue="ci-replay")
async def other() -> None:
    pass
"""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with project() as folder:
        (folder / "app.py").write_text(APP)
        running = start(folder, "--tasks", "app.py")
        yield running
        running.stop()


def made(up: Up, n: int, *arguments: str) -> list[str]:
    """The ids of so many runs that have ended, oldest first."""
    for _ in range(n):
        up.headway("run", "research-agent", *arguments)
    return sorted(row["run"] for row in up.runs("--task", "research-agent")[:n])


def planned(up: Up, script: str, **env: str) -> dict[str, object]:
    done = up.headway("replay", "plan", script, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_recorded_script_mends_what_failed(up: Up, tmp_path: Path) -> None:
    runs = made(up, 4, "fails=storm")
    shown = up.headway("replay", "plan", FIX)
    assert "4 runs will start: 4 from #2" in shown.stdout, shown.stderr
    assert "once: 4 x send-email kept" in shown.stdout
    plan = planned(up, FIX)
    assert shown.stdout.split()[1] == plan["plan"]  # the world is the same, so is the name
    name = str(plan["plan"])[:8]
    assert up.headway("replay", "run", FIX, "--plan", "0000", "--yes").returncode == 3
    refused = up.headway("replay", "run", FIX)
    assert (refused.returncode, f"--plan {name} --yes" in refused.stderr) == (4, True)
    assert up.headway("replay", "ls", "--json").stdout == ""
    out = tmp_path / "out.xml"
    nowhere = str(tmp_path / "none" / "out.xml")
    early = up.headway("replay", "run", FIX, "--plan", name, "--yes", "--junit", nowhere)
    assert early.returncode == 2
    assert "no such folder" in early.stderr
    go = ("replay", "run", FIX, "--plan", name, "--yes", "--follow", "--junit", str(out))
    done = up.headway(*go)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the canary passed its checks: approved" in done.stderr
    suite = ElementTree.parse(out).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("4", "0")
    (row,) = [json.loads(x) for x in up.headway("replay", "ls", "--json").stdout.splitlines()]
    assert (row["state"], row["succeeded"]) == ("done", 4)
    again = up.headway(*go)
    assert again.returncode == 0, again.stderr
    detail = json.loads(up.headway("replay", "status", row["job"], "--json").stdout)
    assert [i["run"] for i in detail["items"]] == runs
    item = detail["items"][0]
    both = up.headway("replay", "compare", item["run"], item["fork"], "--json")
    told = json.loads(both.stdout)
    assert told["numbers"]["status"] == ["failed", "succeeded"]
    assert told["state"] == ['iteration-2: model: "sonnet" -> "haiku"']
    assert told["output"] == ['null -> {"model": "haiku"}']
    report = up.headway("replay", "report", row["job"], "--md")
    assert report.returncode == 0
    assert report.stdout.count("| ~ |") == 4  # what they cost is not known: a warning


@pytest.mark.nightly
def test_the_python_script_edits_each_run_and_drops_some(up: Up, tmp_path: Path) -> None:
    (long,) = made(up, 1, "fails=context")
    (short,) = made(up, 1, "fails=context", "length=5")
    shown = planned(up, TRIM)
    assert shown["items"] == 1
    assert shown["dropped"] == [[short, "history is short: another bug"]]
    whole = json.loads(up.headway("replay", "explain", TRIM).stdout)
    patch = whole["items"][0]["state"]["patch"]
    assert (whole["items"][0]["run"], patch) == (long, {"messages": [0, 1, 14, 15, 16, 17, 18, 19]})
    name = str(shown["plan"])
    done = up.headway("replay", "run", TRIM, "--plan", name, "--yes", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly
def test_the_gate_is_red_when_a_golden_run_fails(up: Up) -> None:
    made(up, 1, "--tag", "golden")
    env = {"IMAGE": "current"}
    assert up.headway("replay", "plan", GOLDEN).returncode == 2
    name = str(planned(up, GOLDEN, **env)["plan"])
    go = ("replay", "run", GOLDEN, "--plan", name, "--yes", "--follow")
    done = up.headway(*go, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(up.headway("replay", "ls", "--json").stdout.splitlines()[0])["job"]
    strict = up.folder / "strict.replay.py"
    strict.write_text(
        "from headway.replays import Select\nselect = Select('status:dead')\n"
        "def check(original, fork):\n    return 'too bad'\n"
    )
    assert up.headway("replay", "report", job, "--script", str(strict)).returncode == 0
    assert up.headway("replay", "stop", job).returncode == 3
    assert up.headway("verify").returncode == 0
