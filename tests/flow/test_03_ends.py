"""How runs end, wait and go on, through the whole stack with real runners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from headway.errors import RunFailed
from headway.wire.fleet import Deployment
from support import body_tasks as t
from support.live import Live, headway, live
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway.handles import RunHandle


async def kinds(stack: Live, handle: RunHandle[Any]) -> list[str]:
    return [e.kind for e in await stack.events(handle.id)]


async def failed(handle: RunHandle[Any]) -> RunFailed:
    with pytest.raises(RunFailed) as e:
        await handle.result(30)
    return e.value


async def test_a_started_event_says_where_and_from_what_it_started(
    nats: str, database: str, tmp_path: Path
):
    # Its first save is sent at once after `started` and must not overtake it.
    async with live(nats, database) as stack:
        run = await stack.start(t.b_grows, str(tmp_path), 10)
        await run.result(30)
        events = await stack.events(run.id)
        started = [e for e in events if e.kind == "started"]
        assert len(started) == 2
        for event in started:
            assert event.data["container"]
            assert event.data["host"]
            assert event.data["cold"] is True
        assert started[1].data["resumed_from"] == 1
        assert [e.n for e in events] == list(range(1, len(events) + 1))


async def test_an_unfitting_state_waits_for_a_person_with_its_state_kept(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_mismatch, str(tmp_path), False)
        detail = await stack.in_state(run, "review")
        assert detail.row.reason == "state"
        assert "migrate" in detail.why
        assert detail.checkpoints[-1].name == "old"
        assert detail.row.attempt == 0  # no retry was used


async def test_migrate_takes_an_old_state_over(nats: str, database: str, tmp_path: Path):
    async with live(nats, database) as stack:
        assert await stack.result(t.b_mismatch, str(tmp_path), True) == "kept"


async def test_a_long_sleep_holds_no_runner_and_wakes(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_sleeps)
        await stack.in_state(run, "waiting")
        await until(lambda: not stack.agent.attempts.live, what="its place was given back")
        await until(
            lambda: all(w.gone for w in stack.agent.pool.workers.values()), what="its process ended"
        )
        assert await run.result(30) == [2, 1]  # a new epoch, no retry used
        assert "waiting" in await kinds(stack, run)


@pytest.mark.parametrize(("decision", "lines"), [("done", 1), ("rerun", 2)])
async def test_an_interrupted_once_waits_for_a_decision(
    nats: str, database: str, tmp_path: Path, decision: str, lines: int
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_once, str(tmp_path))
        detail = await stack.in_state(run, "review")
        assert detail.row.reason == "once"
        assert "pay" in detail.why
        refused = await headway(nats, "resume", run.id)
        assert refused.returncode == 4
        assert "pay" in refused.stderr
        done = await headway(nats, "resume", run.id, "--once", f"pay={decision}")
        assert done.returncode == 0, done.stderr
        assert await run.result(30) == (None if decision == "done" else "made")
        tokens = (tmp_path / "effects").read_text().split()
        assert len(tokens) == lines
        assert len(set(tokens)) == 1


async def test_a_timeout_ends_the_run_unless_it_is_retried(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_slow)
        assert (await failed(run)).status == "timed_out"
        assert await stack.result(t.b_slow_once, str(tmp_path)) == "in time"


async def test_a_deadline_ends_a_run_that_waits(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_sleeps, deadline=0.7)
        assert (await failed(run)).status == "timed_out"


async def test_a_cancel_lets_the_task_clean_up_within_its_grace(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_cleans, str(tmp_path))
        await until((tmp_path / "busy").exists, 20, what="it works")
        await run.cancel("enough")
        assert (await failed(run)).status == "cancelled"
        assert (tmp_path / "cleaned").exists()
        detail = await run.detail()
        assert [c.name for c in detail.checkpoints] == ["working", "cleaned"]
        assert detail.events[-1].kind == "cancelled"


async def test_a_task_that_ignores_a_cancel_is_killed_after_its_grace(
    nats: str, database: str, tmp_path: Path
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_stubborn, str(tmp_path))
        await until((tmp_path / "busy").exists, 20, what="it works")
        worker = stack.agent.attempts.live[run.id].worker
        await run.cancel()
        assert (await failed(run)).status == "cancelled"
        assert worker is not None
        await until(lambda: worker.gone, what="its process is gone")


async def test_a_task_decides_on_its_own_retries(nats: str, database: str, tmp_path: Path):
    async with live(nats, database) as stack:
        stopped = await failed(await stack.start(t.b_stops))
        assert (stopped.status, stopped.error_type) == ("failed", "StopRun")
        for name, task in (("in", t.b_retry_in), ("at", t.b_retry_at)):
            (tmp_path / name).mkdir()
            # The policy alone would wait 30 s.
            assert await stack.result(task, str(tmp_path / name), within=20) == 2


async def test_an_exit_without_a_word_is_a_failure_that_counts(nats: str, database: str):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_exits)
        detail = await stack.in_state(run, "retrying")
        assert detail.row.attempt == 1, "a retry is used"
        assert [e.kind for e in detail.events].count("started") == 1
        await run.cancel()


async def test_a_payload_that_the_version_at_the_claim_does_not_take_fails_with_its_path(
    nats: str, database: str
):
    async with live(nats, database) as stack:
        run = await stack.start(t.b_count, 5, delay=1.0)
        source = (stack.folder / "src" / "body_tasks.py").read_text()
        newer = stack.folder / "newer"
        newer.mkdir()
        (newer / "body_tasks.py").write_text(
            source.replace("def b_count(number: int)", "def b_count(number: list[int])")
        )
        what = Deployment(
            "v2", [t.b_count.spec()], modules=("body_tasks",), source=str(newer), dev=True
        )
        await stack.client.api("deploy", what, dict[str, Any])
        error = await failed(run)
        assert (error.status, error.error_type) == ("failed", "BadPayload")
        assert "$.number" in str(error)
        detail = await run.detail()
        assert (detail.row.reason, detail.row.version) == ("payload", "v2")
        assert [e.kind for e in detail.events].count("started") == 1, "no retry"


async def test_a_version_that_no_agent_has_waits_for_a_person(nats: str, database: str):
    async with live(nats, database, image_grace=0.5) as stack:
        spec = replace(t.b_echo.spec(), task="elsewhere")
        image = "sha256:" + "0" * 64
        await stack.client.api(
            "deploy", Deployment("v9", [spec], image=image, modules=("x",)), dict[str, Any]
        )
        item = replace(t.b_echo.options().item((1,), {}), task="elsewhere", schema="")
        run = (await stack.client.submit([item]))[0]
        detail = await stack.in_state(run, "review")
        assert detail.row.reason == "version"
        assert "bring that image" in detail.why
        assert detail.events[-1].data["version"] == "v9"


async def test_a_plain_task_goes_on_from_its_checkpoint(nats: str, database: str, tmp_path: Path):
    async with live(nats, database) as stack:
        got = await stack.result(t.b_plain, str(tmp_path))
        assert got == ["PLAIN", "paid"]


async def test_an_end_names_its_last_line_and_output_is_whole_before_it_is_shown(
    nats: str, database: str
):
    async with live(nats, database) as stack:
        for task, arguments in (
            (t.b_prints, (7, False)), (t.b_prints, (7, True)), (t.b_prints_shared, (7,)),
        ):  # fmt: skip
            run = await stack.start(task, *arguments)
            lines = [line async for part in run.logs() for line in part.chunk.lines]
            assert lines == [f"line {i}" for i in range(7)]
            assert (await stack.events(run.id))[-1].data["lines"] == 7
        shown = await headway(nats, "run", "b-prints", "count=300", "fail=false")
        assert shown.returncode == 0, shown.stderr
        order = [line for line in shown.stderr.splitlines() if "line" in line or "succeed" in line]
        assert len(order) == 301
        assert "succeeded" in order[-1]
