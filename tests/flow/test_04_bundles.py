"""A run as a file: exported, its installation gone, looked at, forked on another one."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

from headway.bundle import Bundle
from headway_engine.agent.redact import MASK
from support import body_tasks as t
from support import servers
from support.live import headway, live
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.databases import Databases
    from support.live import Live

NOBODY = "nats://127.0.0.1:1"
SECRET = "sk-abcdefghijklmnopqrstuvwxyz"


async def a_failed_run(stack: Live, folder: Path, size: int = 0) -> str:
    place(folder)
    run = await stack.start(t.b_turns, str(folder), size)
    await stack.in_state(run, "failed")

    async def printed() -> bool:
        return "authorised" in (await headway(servers_of(stack), "logs", run.id)).stdout

    await until(printed, 20, what="its output is stored")
    return run.id


def place(folder: Path) -> None:
    """A folder that tasks may write to."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def servers_of(stack: Live) -> str:
    return stack.client.settings.nats_url


async def test_a_run_outlives_its_installation_and_goes_on_in_another(
    nats: str, databases: Databases, tmp_path: Path
) -> None:
    file = tmp_path / "run.zip"
    database = await databases.take()
    async with live(nats, database) as stack:
        run = await a_failed_run(stack, tmp_path / "one", size=200_000)
        done = await headway(nats, "export", run, "-o", str(file))
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(file)
    databases.drop(database)
    assert file.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(file) as z:
        assert not any(SECRET.encode() in z.read(n) for n in z.namelist())

    # Nothing of it is left: the file alone tells all.
    shown = await headway(NOBODY, "open", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "ValueError: 429 from llm" in shown.stdout
    assert "turn-2" in shown.stdout
    assert "offline bundle, exported" in shown.stderr
    told = json.loads((await headway(NOBODY, "open", str(file), "--json")).stdout)
    assert told["row"]["run"] == run
    assert told["row"]["cost_usd"] == 0.25
    assert told["result"] is None
    logs = await headway(NOBODY, "open", str(file), "--logs")
    assert f"authorised by {MASK}" in logs.stdout

    async with servers.running_nats() as other:
        database = await databases.take()
        async with live(other.url, database) as stack:
            await forked_here(stack, other.url, file, run, tmp_path)
        databases.drop(database)


async def forked_here(stack: Live, url: str, file: Path, run: str, tmp_path: Path) -> None:
    here = ("fork", "--bundle", str(file))
    refused = await headway(url, *here)
    assert refused.returncode == 4
    assert "redacted when it was exported: state.auth" in refused.stderr
    missing = await headway(url, *here, "--from", "#9", "--with-masks")
    assert (missing.returncode, "#2 turn-2" in missing.stderr) == (4, True)
    auth = 'state.auth="mine"'
    done = await headway(url, *here, "--set", 'state.model="haiku"', "--set", auth, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["outcome"], made["checkpoint"], made["kept"]) == ("ok", 2, ["mail"])
    # The letter was sent where it ran first; the step before the checkpoint was not done again.
    result = await stack.client.result(made["run"], list[Any], 30)
    assert result[2:] == ["haiku", made["run"]]
    assert (tmp_path / "one" / "mail").read_text() == "x"
    detail = await stack.client.run(made["run"])
    assert detail.row.origin == run
    assert detail.events[0].data["site"].startswith("default at nats://")
    # The task's types are checked here as for any enqueue.
    bad = await headway(url, *here, "--with-masks", "--set", "payload.folder=7")
    assert (bad.returncode, "folder" in bad.stderr) == (2, True)
    start = await headway(url, *here, "--from", "start", "--set", f'payload.folder="{tmp_path}"')
    assert start.returncode == 0, start.stderr


async def test_children_come_along_and_what_was_left_out_is_missed_in_words(
    nats: str, database: str, tmp_path: Path
) -> None:
    tree, slim = tmp_path / "tree.zip", tmp_path / "slim.zip"
    place(tmp_path)
    (tmp_path / "go").touch()
    async with live(nats, database) as stack:
        parent = await stack.start(t.b_parent, str(tmp_path), ["a", "b"])
        run = await a_failed_run(stack, tmp_path / "one")
        await parent.result(30)
        done = await headway(nats, "export", parent.id, "--tree", "-o", str(tree))
        assert done.returncode == 0, done.stderr
        with Bundle.open(tree) as bundle:
            assert bundle.runs[0] == parent.id
            rows = [bundle.run(r).row for r in bundle.runs[1:]]
            assert [r.parent for r in rows] == [parent.id] * 2
        done = await headway(nats, "export", run, "-o", str(slim), "--no-state", "--no-logs")
        assert "left out: logs, state" in done.stderr
        again = await headway(nats, "export", run, "-o", str(slim))
        assert (again.returncode, "already" in again.stderr) == (2, True)
        done = await headway(nats, "fork", "--bundle", str(slim))
        assert (done.returncode, "--from start" in done.stderr) == (4, True)
        lines = await headway(nats, "open", str(tree), "--json")
        assert len(lines.stdout.splitlines()) == 3
