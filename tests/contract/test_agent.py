"""The agent end to end over a link in memory: real runners as processes, real sockets."""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from headway.wire import NOTHING, BlobRef, rpc
from headway.wire.frames import WINDOW
from headway.wire.reports import AttemptFailed, AttemptLost, Finished, GivenBack, Started, Stopped
from headway_engine.agent import Agent, AgentConfig, conns, sockets
from headway_engine.agent.config import WarmConfig
from headway_engine.runtime.process import ProcessRuntime
from support.agentrig import Rig, first, rigged
from support.fakelink import FakeLink, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


async def test_a_run_becomes_a_result(rig: Rig):
    await rig.agent()
    run = rig.engine.add("add", {"a": 2, "b": 3})
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == b"5"
    assert rig.engine.of(run, Started)
    assert rig.engine.acked == [run]
    await until(lambda: [c for r, _, c in rig.engine.logs if r == run and "adding 2 3" in c.lines])


async def test_the_state_folder_may_be_given_relative_to_the_working_directory(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(rig.folder)
    config = AgentConfig(state_dir="rel", runtime="process", warm=WarmConfig(low=0, high=0))
    agent = Agent(config, FakeLink(rig.engine), ProcessRuntime(rig.folder / "rel"))
    rig.agents.append(agent)
    await agent.start()
    run = rig.engine.add("add", {"a": 2, "b": 3})
    await until(lambda: first(rig.engine.of(run, Finished)))
    assert rig.engine.of(run, Started)


async def test_an_exception_is_a_failure_with_its_traceback(rig: Rig):
    await rig.agent()
    run = rig.engine.add("fails", {})
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert (failed.cause, failed.error.message) == ("error", "no good")
    assert "raise ValueError" in failed.error.traceback


async def test_a_killed_runner_is_lost_and_the_next_attempt_goes_on(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("counts", {"until": 3})
    await until(lambda: len(rig.engine.saves) == 3)
    os.kill(rig.pid_of(agent, run), signal.SIGKILL)
    lost = await until(lambda: first(rig.engine.of(run, AttemptLost)))
    assert isinstance(lost, AttemptLost)
    assert "SIGKILL" in lost.why
    last = rig.engine.saves[-1]
    rig.engine.again(run, checkpoint=3, checkpoint_name="n-3", state=last.state, schema=last.schema)
    rig.engine.runs[run].payload = Raw(b'{"until": 5}')
    await until(lambda: len(rig.engine.saves) == 5)
    assert [(s.epoch, s.number) for s in rig.engine.saves] == [
        (1, 1), (1, 2), (1, 3), (2, 4), (2, 5),
    ]  # fmt: skip


async def test_saves_of_one_moment_travel_in_one_request(rig: Rig):
    await rig.agent()
    run = rig.engine.add("steps", {})
    await until(lambda: first(rig.engine.of(run, Finished)))
    assert len(rig.engine.saves) == 20
    assert rig.engine.save_requests <= 5


async def test_the_first_saves_wait_until_the_start_is_committed(rig: Rig):
    # A save says `started` too, but not where, nor how: it must not be the first to say it.
    rig.engine.reporting.clear()
    agent = await rig.agent()
    run = rig.engine.add("counts", {"until": 3})
    held = await until(lambda: (a := agent.attempts.live.get(run)) and a.held)
    assert len(held) == 1
    assert not rig.engine.saves
    rig.engine.reporting.set()
    await until(lambda: len(rig.engine.saves) == 3)
    assert rig.engine.of(run, Started)[0].host


async def test_a_start_counts_from_the_moment_that_all_of_it_is_handed_over(rig: Rig):
    rig.options = {"started_timeout": 0.3}
    agent = await rig.agent()
    body = b'{"a":1,"b":' + b"2" * 300 + b"}"
    run = rig.engine.add("add", {})
    digest = sha256(body).hexdigest()
    rig.engine.blobs[digest] = body
    rig.engine.runs[run].payload_ref = BlobRef(digest, len(body), digest)
    rig.engine.runs[run].payload = NOTHING
    rig.engine.reading.clear()
    attempt = await until(lambda: agent.attempts.live.get(run))
    await until(lambda: attempt.dispatched_at)
    worker = attempt.worker
    await until(lambda: agent.clock() > attempt.dispatched_at + 0.6)
    rig.engine.reading.set()
    await until(lambda: first(rig.engine.of(run, Finished)))
    assert attempt.worker is worker, "reading a large payload is no failed start"


async def test_an_engine_that_cannot_read_the_marks_now_is_asked_again(rig: Rig):
    await rig.agent()
    busy = rpc.RpcError("busy", "the store is away")
    mark = rpc.MarkRecord("s-0", "step", "one", "done", 1, Raw(b"100"))
    rig.engine.loads.extend([busy, busy, rpc.Loaded([mark])])
    run = rig.engine.add("steps", {})
    rig.engine.runs[run].marks_more = True
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == b"290", "the recorded step's value, and nineteen fresh ones"


async def test_a_silent_runner_is_warned_of_and_not_killed(
    rig: Rig, caplog: pytest.LogCaptureFixture
):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: (a := agent.attempts.live.get(run)) and a.started)
    pid = rig.pid_of(agent, run)
    os.kill(pid, signal.SIGSTOP)
    worker = agent.attempts.live[run].worker
    assert worker is not None
    assert not worker.ping(100.0, 15.0)
    assert worker.ping(116.0, 15.0)
    assert not worker.ping(121.0, 15.0), "said once"
    os.kill(pid, signal.SIGCONT)
    await until(lambda: "answers again" in caplog.text)
    assert not worker.silent
    assert run in agent.attempts.live


async def test_saves_and_reports_go_to_the_engine_that_gave_the_run_first(rig: Rig):
    await rig.agent()
    run = rig.engine.add("steps", {})
    await until(lambda: rig.engine.of(run, Finished))
    targets = rig.engine.targets
    assert {e for verb, e in targets if verb in ("save", "report")} == {"e1"}
    assert {e for verb, e in targets if verb in ("register", "claim")} == {None}


async def test_an_engine_that_hangs_is_waited_for_once_and_not_by_each_save(rig: Rig):
    rig.options["rpc_timeout"] = 0.3
    await rig.agent()
    rig.engine.hung = {"e1"}
    run = rig.engine.add("counts", {"until": 6})
    await until(lambda: len(rig.engine.saves) == 6)
    assert all(save.run == run for save in rig.engine.saves)
    asked = [engine for verb, engine in rig.engine.targets if verb in ("save", "report")]
    # What was sent before the first one was given up may have gone there too.
    assert 1 <= asked.count("e1") <= 2
    assert asked.count(None) > 4


async def test_large_bodies_go_through_blobs(rig: Rig):
    await rig.agent()
    run = rig.engine.add("large", {"size": 1_500_000})
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert done.ref is not None
    assert rig.engine.blobs[done.ref.key] == b'"' + b"y" * 1_500_000 + b'"'
    assert rig.engine.saves[0].ref.size == 1_500_002


async def test_exit_without_a_result_is_a_crash(rig: Rig):
    await rig.agent()
    run = rig.engine.add("dies", {})
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert (failed.cause, failed.exit_code) == ("crash", 0)


@pytest.mark.parametrize("task", ["sleeps", "stubborn"])
async def test_a_cancel_is_reported_when_the_process_is_certainly_gone(rig: Rig, task: str):
    agent = await rig.agent()
    run = rig.engine.add(task, {}, grace=0.3)
    await until(lambda: rig.engine.of(run, Started))
    pid = rig.pid_of(agent, run)
    rig.engine.stop = [(run, 1, "cancel")]  # repeated by each beat
    await until(lambda: rig.engine.of(run, Stopped))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not rig.engine.of(run, AttemptFailed)


async def test_timeout_is_measured_from_started_and_ends_the_attempt(rig: Rig):
    await rig.agent()
    run = rig.engine.add("sleeps", {}, timeout=0.3, grace=0.3)
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert failed.cause == "timeout"


async def test_shared_worker_runs_many_at_once_in_one_process(rig: Rig):
    agent = await rig.agent()
    runs = [rig.engine.add("noop", {}, isolation="shared") for _ in range(500)]
    await until(lambda: len([r for r in rig.engine.reports if isinstance(r, Finished)]) == 500)
    assert agent.pool.starts == 1
    assert {r.run for r in rig.engine.reports} == set(runs)
    assert rig.engine.report_requests < 250


async def test_started_is_left_out_when_the_end_comes_first(rig: Rig):
    await rig.agent()
    run = rig.engine.add("noop", {}, isolation="shared")
    await until(lambda: first(rig.engine.of(run, Finished)))
    later = rig.engine.add("noop", {}, isolation="shared")
    await until(lambda: first(rig.engine.of(later, Finished)))
    assert not rig.engine.of(later, Started)


async def test_a_stubborn_shared_run_recycles_the_worker_and_the_others_are_not_charged(rig: Rig):
    await rig.agent()
    bad = rig.engine.add("stubborn", {}, isolation="shared", grace=0.2)
    good = rig.engine.add("sleeps", {}, isolation="shared", grace=0.2)
    await until(lambda: rig.engine.of(bad, Started) and rig.engine.of(good, Started))
    rig.engine.stop = [(bad, 1, "cancel")]
    await until(lambda: rig.engine.of(bad, Stopped))
    lost = await until(lambda: first(rig.engine.of(good, AttemptLost)))
    assert isinstance(lost, AttemptLost)


async def test_a_warm_runner_takes_the_next_run(rig: Rig):
    rig.warm = WarmConfig(low=1, high=1)
    agent = await rig.agent()
    cold = rig.engine.add("add", {"a": 1, "b": 1})
    await until(lambda: first(rig.engine.of(cold, Finished)))
    await until(lambda: agent.pool.warm == 1)
    run = rig.engine.add("add", {"a": 1, "b": 2})
    started = await until(lambda: rig.engine.of(run, Started))
    assert not started[0].cold


async def test_no_slot_no_claim(rig: Rig):
    rig.options = {"slots": 1}
    agent = await rig.agent()
    one = rig.engine.add("sleeps", {})
    two = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(one, Started))
    assert two not in agent.attempts.live
    assert two not in rig.engine.acked


async def test_the_report_of_an_end_says_that_its_slot_is_free_and_the_next_run_is_taken(rig: Rig):
    rig.options = {"slots": 1}
    rig.engine.reporting.clear()
    agent = await rig.agent()
    first_run = rig.engine.add("noop", {})
    attempt = await until(lambda: agent.attempts.live.get(first_run))
    await until(lambda: attempt.reporting)
    second = rig.engine.add("noop", {})
    await until(lambda: second in agent.attempts.live)
    assert first_run in agent.attempts.live, "its end is not answered yet"
    assert agent.attempts.run_used == 1
    rig.engine.reporting.set()
    await until(lambda: not agent.attempts.live)
    assert agent.attempts.run_used == 0


async def test_secrets_reach_the_task_and_not_its_log(rig: Rig):
    file = rig.folder / "given.toml"
    file.write_text('[vars]\nPLAIN = "open"\n[secrets]\nAPI_KEY = "s3cr3t-value-77"\n')
    rig.options = {"provider_file": str(file)}
    await rig.agent()
    run = rig.engine.add("leaks", {}, env=("PLAIN",), secrets=("API_KEY",))
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == b'"open"'
    chunks = await until(lambda: [c for r, _, c in rig.engine.logs if r == run])
    assert chunks[0].lines == ["the secret is [redacted] indeed"]


async def test_a_secret_that_is_not_provided_gives_the_run_back(rig: Rig):
    await rig.agent()
    run = rig.engine.add("leaks", {}, secrets=("API_KEY",))
    back = await until(lambda: rig.engine.of(run, GivenBack))
    assert back[0].fault == "agent"
    assert "API_KEY" in back[0].why


async def test_code_that_cannot_be_imported_is_an_image_failure(rig: Rig):
    (rig.folder / "src" / "hwtasks.py").write_text("import nothing_of_that_name\n")
    await rig.agent()
    run = rig.engine.add("add", {"a": 1, "b": 1})
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert (failed.cause, failed.retry) == ("image", False)
    assert "nothing_of_that_name" in failed.error.message


async def test_stale_epoch_ends_the_attempt_and_only_its_death_is_told(rig: Rig):
    agent = await rig.agent()
    rig.engine.save_outcome = lambda save: "stale_epoch" if save.number == 2 else "ok"
    run = rig.engine.add("counts", {"until": 3})
    await until(lambda: len(rig.engine.saves) == 2)
    await until(lambda: run not in agent.attempts.live)
    await until(lambda: len(rig.engine.reports) == 2)
    assert isinstance(rig.engine.reports[0], Started)
    assert rig.engine.reports[1] == Stopped(run, 1, "stale")


async def test_a_changed_source_restarts_what_was_loaded_from_it(rig: Rig):
    rig.warm = WarmConfig(low=1, high=1)
    rig.engine.version.dev = True
    agent = await rig.agent()
    run = rig.engine.add("add", {"a": 1, "b": 1})
    await until(lambda: first(rig.engine.of(run, Finished)) and agent.pool.warm == 1)
    source = rig.folder / "src" / "hwtasks.py"
    source.write_text(source.read_text().replace("return a + b", "return a + b + 100"))
    os.utime(source, (1, 1))
    starts = agent.pool.starts
    await until(lambda: agent.pool.starts > starts and agent.pool.warm == 1)
    run = rig.engine.add("add", {"a": 1, "b": 1})
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == b"102"


async def test_a_source_whose_times_alone_changed_leaves_its_runners(
    rig: Rig, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "headway.agent")
    rig.warm = WarmConfig(low=1, high=1)
    rig.engine.version.dev = True
    agent = await rig.agent()
    for task in ("add", "noop"):  # two kinds of runners from one folder
        run = rig.engine.add(task, {"a": 1, "b": 1} if task == "add" else {}, cpus=len(task))
        await until(lambda run=run: first(rig.engine.of(run, Finished)))
    await until(lambda: agent.pool.warm == 2)
    source = rig.folder / "src" / "hwtasks.py"
    starts, looks = agent.pool.starts, agent.pool.looks
    os.utime(source, (1, 1))
    await until(lambda: agent.pool.looks > looks + 1)
    assert agent.pool.starts == starts
    said = "its runners start anew"
    assert said not in caplog.text
    source.write_text(source.read_text() + "\n# changed\n")
    await until(lambda: agent.pool.starts == starts + 2 and agent.pool.warm == 2)
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize("children", [False, True])
async def test_a_crowd_over_the_rate_is_slowed_and_ends(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, children: bool
):
    def small(slots: int = 1) -> conns.Rates:
        rates = conns.Rates(slots, strikes=2)
        rates.frames = 150
        return rates

    monkeypatch.setattr(sockets, "Rates", small)
    await rig.agent()
    run = rig.engine.add("crowd", {"count": 600, "children": children})
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert bytes(done.result) == (b"600" if children else b"179700")


async def test_requests_without_end_that_wait_for_no_answer_are_cut_off(rig: Rig):
    agent = await rig.agent()
    run = rig.engine.add("sleeps", {})
    await until(lambda: rig.engine.of(run, Started))
    worker = agent.attempts.live[run].worker
    assert worker is not None
    for seq in range(10_000, 10_000 + 2 * WINDOW):
        assert not worker.seen(seq)
        assert not worker.seen(seq + 100_000, awaits=True)
    assert worker.seen(20_000)
    failed = await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    assert isinstance(failed, AttemptFailed)
    assert failed.cause == "violation"
