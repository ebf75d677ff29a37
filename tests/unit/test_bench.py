from __future__ import annotations

import asyncio
import io
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from headway.wire.events import Event
from headway_ops.bench import (
    first,
    latency,
    procs,
    raw,
    recovery,
    report,
    rig,
    run_bench,
    running,
    stack,
    stats,
    targets,
    tasks,
)
from headway_ops.say import Fail

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    "save_1k",
    "save_1k_64",
    "save_100k",
    "start_warm",
    "result",
    "throughput",
    "enqueue_single",
    "enqueue_32",
    "enqueue_batch",
    "recovery",
    "due_2000",
    "first_result",
    "idle_pss",
]


def _shown(what: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, no_color=True).print(what)
    return out.getvalue()


# --- percentiles


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.25, 2.0), (1.0, 5.0), (0.9, 4.6)]
)
def test_percentile_interpolates_between_neighbours(q: float, expected: float) -> None:
    assert stats.percentile([5, 1, 4, 2, 3], q) == pytest.approx(expected)


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        stats.percentile([], 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        stats.percentile([1.0], 50)


def test_one_bad_round_does_not_move_the_median_round() -> None:
    rounds = [stats.spread([v] * 10) for v in (1.0, 900.0, 1.2)]
    assert stats.middle(rounds) == stats.Spread(1.2, 1.2, 30)


def test_ratios_are_taken_round_by_round() -> None:
    assert stats.ratio_of([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == 3.0
    assert stats.ratio_of([2.0], [0.0]) is None


# --- targets


def test_every_line_has_one_target() -> None:
    assert [t.name for t in targets.TARGETS] == NAMES
    assert list(targets.BY_NAME) == NAMES


@pytest.mark.parametrize(
    ("compare", "found", "holds"),
    [("<", 3.9, True), ("<", 4.0, False), ("≤", 4.0, True), ("≥", 3.9, False), ("=", 4.0, True)],
)
def test_rule_compares(compare: targets.Compare, found: float, holds: bool) -> None:
    assert targets.Rule("p50", compare, 4.0).holds({"p50": found}) is holds


def test_rule_may_count_in_raw_limits() -> None:
    rule = targets.Rule("p50", "≤", 4, of_raw=True)
    assert rule.holds({"p50": 1.2, "raw": 0.3})
    assert not rule.holds({"p50": 1.3, "raw": 0.3})


def test_what_was_not_measured_does_not_pass() -> None:
    assert not targets.Rule("early", "=", 0).holds({"p99": 0.1})
    assert not targets.Rule("p50", "≤", 4, of_raw=True).holds({"p50": 0.0, "raw": None})


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda t: t.name)
def test_a_line_without_figures_misses_each_of_its_rules(target: targets.Target) -> None:
    assert target.missed({}) == target.rules
    assert str(target)
    assert len(target.what) <= 40


def test_targets_read_like_the_table_in_the_design() -> None:
    assert str(targets.BY_NAME["save_1k"]) == "p50 ≤ 4 x raw, p99 ≤ 3 ms"
    assert str(targets.BY_NAME["enqueue_batch"]) == "≥ 30,000/s"
    assert str(targets.BY_NAME["idle_pss"]) == "< 170 MB, cpu percent < 2 %"


# --- report


def _save(p50: float, p99: float = 2.0) -> report.Measured:
    return report.Measured(p50=p50, p99=p99, raw=0.3, raw_of="commit of 1 KB", ratio=p50 / 0.3)


def test_a_line_is_judged_by_all_its_rules() -> None:
    assert report.judged("save_1k", _save(1.0)).ok
    assert not report.judged("save_1k", _save(1.3)).ok
    assert not report.judged("save_1k", _save(1.0, p99=3.5)).ok


def test_figures_of_the_detail_count() -> None:
    both = report.Measured(value=4100, detail={"single": 1500, "isolation": "shared"})
    line = report.judged("throughput", both)
    assert not line.ok
    assert [rule.figure for rule in report.missed_rules(line)] == ["single"]


def test_a_line_that_could_not_be_measured_does_not_pass() -> None:
    measured = report.Measured(value=1.0, error="nothing answered")
    line = report.judged("first_result", measured)
    assert not line.ok
    assert "nothing answered" in _shown(report.story(line))


def test_json_has_the_agreed_keys() -> None:
    lines = [report.judged("save_1k", _save(1.23456789))]
    (data,) = msgspec.json.decode(msgspec.json.encode(report.as_data(lines)))
    agreed = {"name", "unit", "p50", "p99", "value", "raw", "ratio", "target", "ok"}
    assert agreed <= data.keys()
    assert (data["name"], data["p50"], data["value"]) == ("save_1k", 1.235, None)


def test_json_is_one_list_also_for_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = report.judged("save_1k", _save(0.1))

    def measured(*_: object) -> list[report.Line]:
        return [line]

    monkeypatch.setattr(running, "measure", measured)
    run_bench(only=["save_1k"], as_json=True)
    (data,) = msgspec.json.decode(capsys.readouterr().out)
    assert data["name"] == "save_1k"


def test_report_fits_eighty_columns_and_explains_what_missed() -> None:
    missed = _save(2.5)
    missed.stages = [report.Stage("CPU per save: engine", 0.41, "ms")]
    lines = [report.judged("save_1k", missed), report.judged("save_100k", _save(0.5))]
    lines += [
        report.judged(name, report.Measured(value=123456.0, raw=99999.0, ratio=1.23))
        for name in NAMES[5:]
    ]
    text = _shown(report.report(lines))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "save_1k missed: p50 ≤ 4 x raw" in text
    assert "2.5 / 2 ms" in text
    assert "123,456/s" in text
    assert "CPU per save: engine" in text
    assert "save_100k missed" not in text
    for name in NAMES[5:]:
        assert name in text


def test_stages_are_medians_between_points() -> None:
    points = [("enqueue", [0.0, 10.0, 20.0]), ("recorded", [1.0, 13.0, 22.0])]
    points.append(("user code", [4.0, 14.0, 26.0]))
    stages = report.path_stages(points)
    assert stages == [report.Stage("recorded", 2.0, "ms"), report.Stage("user code", 3.0, "ms")]


# --- processes


def test_stat_of_a_command_with_brackets_and_spaces() -> None:
    fields = "7 7 7 0 -1 4194560 1 0 0 0 250 50 30 20 20 0 1 0 100 1 1"
    times = procs.parse_stat(f"99 (a) b (c) S {fields}", ticks=100)
    assert times == procs.Times(parent=7, own=3.0, waited=0.5)


def test_pss_is_read_from_the_rollup() -> None:
    text = "55 00-ff ---p 0 00:00 0 [rollup]\nRss:    900 kB\nPss:    41 kB\nPss_Dirty: 5 kB\n"
    assert procs.parse_pss(text) == 41 * 1024
    assert procs.parse_pss("") == 0


def test_parts_split_a_tree_without_counting_twice() -> None:
    tree = {
        1: procs.Times(0, 100.0, 100.0),
        10: procs.Times(1, 1.0, 4.0),
        11: procs.Times(10, 0.5, 0.25),
        12: procs.Times(11, 0.125, 0.0),
    }
    agent = procs.Part("agent", 10)
    runners = procs.Part("runners", 10, itself=False, descendants=True)
    assert agent.cpu(tree) == 1.0
    assert runners.cpu(tree) == 4.0 + 0.75 + 0.125
    assert sorted(runners.pids(tree)) == [11, 12]
    assert procs.Part("gone", 77, descendants=True).cpu(tree) == 0.0


@pytest.mark.skipif(not procs.PROC.is_dir(), reason="reads /proc")
def test_meter_sees_the_work_of_a_child_that_ended() -> None:
    me = os.getpid()
    meter = procs.Meter([procs.Part("children", me, itself=False, descendants=True)])
    subprocess.run([sys.executable, "-c", "sum(range(6_000_000))"], check=True)
    assert meter.spent()["children"] > 0
    assert procs.pss([me]) > 1_000_000


# --- raw limits


async def test_socket_round_trip_speaks_to_another_process(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = str(tmp_path_factory.mktemp("s"))
    assert await raw.socket_round_trip(folder, count=5) > 0


async def test_timed_leaves_out_the_warm_up() -> None:
    calls = list[int]()

    async def once() -> None:
        calls.append(1)

    assert len(await raw.timed(7, once, warm=3)) == 7
    assert len(calls) == 10


# --- reading what happened


START_NS = 1_900_000_000_000_000_000


def _event(kind: str, epoch: int, after_ms: float, **data: Any) -> Event:
    at = datetime.fromtimestamp(START_NS / 1e9, UTC) + timedelta(milliseconds=after_ms)
    return Event(n=1, at=at, kind=kind, epoch=epoch, data=data)


def test_a_kill_is_read_from_events_and_the_last_attempts_answer() -> None:
    story = [
        _event("queued", 0, -300),
        _event("starting", 1, -290),
        *(_event("checkpoint", 1, -200 + i, number=i + 1) for i in range(6)),
        _event("lost", 1, 12),
        _event("queued", 1, 12),
        _event("starting", 2, 20),
        _event("checkpoint", 2, 40, number=7),
    ]
    answer = tasks.Recovered(START_NS + 25_000_000, START_NS + 27_000_000, 5, [5, 6, 7, 8])
    kill = recovery.measured_kill(START_NS, answer, story)
    assert (kill.lost, kill.claimed, kill.begun, kill.resumed) == pytest.approx((12, 20, 25, 27))
    assert kill.twice == 1
    answer.ran = [3, 4, 5, 6, 7, 8]
    assert recovery.measured_kill(START_NS, answer, story).twice == 3


def test_stages_of_a_run_add_up_to_its_whole_time() -> None:
    sample = latency.Sample("R", START_NS, first_line=3.5, recorded=2.0, result=6.0)
    story = [_event("queued", 0, 1), _event("starting", 1, 3), _event("succeeded", 1, 5)]
    stages = latency.points([sample], {"R": story})
    assert [s.amount for s in stages] == pytest.approx([1, 2, 0.5, 1.5, 1])
    assert latency.points([sample], {"R": story[:2]}) == []


def test_cpu_is_given_per_operation_largest_first() -> None:
    looks = [{"engine": 0.2, "nats": 0.1, "agent": 0.0}, {"engine": 0.4, "nats": 0.1}]
    assert rig.cpu_stages(looks, [100, 100], "save") == [
        report.Stage("CPU per save: engine", 3.0, "ms"),
        report.Stage("CPU per save: nats", 1.0, "ms"),
    ]


# --- what is run


def test_an_unknown_line_is_named() -> None:
    assert running.choose(()) == frozenset(NAMES)
    assert running.choose(["result"]) == {"result"}
    with pytest.raises(Fail, match="no line 'speed'"):
        running.choose(["result", "speed"])


def test_every_line_is_measured_by_exactly_one_group() -> None:
    grouped = [name for group in running.GROUPS for name in group.names]
    assert sorted([*grouped, running.FIRST, running.REST]) == sorted(NAMES)


async def test_a_line_that_fails_says_why_and_the_others_go_on() -> None:
    async def broken() -> dict[str, report.Measured]:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise())
        return {}

    async def _raise() -> None:
        raise ConnectionError("no way")

    found = await running.guarded(("result",), broken(), 5, math.inf)
    assert found["result"].error == "ConnectionError: no way"


async def test_a_line_without_time_left_is_not_measured() -> None:
    async def endless() -> dict[str, report.Measured]:
        await asyncio.Event().wait()
        return {}

    found = await running.guarded(("result",), endless(), 5, 0.0)
    assert found["result"].error == "no time left"


def test_the_callers_settings_are_back_after_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://other:1")
    with running.clean_environment():
        assert "HEADWAY_NATS_URL" not in os.environ
        os.environ["HEADWAY_USER"] = "bench"
    assert os.environ["HEADWAY_NATS_URL"] == "nats://other:1"
    assert "HEADWAY_USER" not in os.environ


def test_scratch_folder_is_open_for_servers_and_gone_afterwards() -> None:
    with stack.scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o711
        assert stack.copy_tasks(folder / "tasks").name == stack.TASKS_FILE
    assert not folder.exists()


def test_tasks_need_nothing_but_the_sdk(tmp_path: Path) -> None:
    stack.copy_tasks(tmp_path)
    code = (
        f"import sys, {stack.TASKS_MODULE}\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('headway_ops', 'nats', 'rich')]\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_landmarks_of_a_start_are_read_from_the_logs() -> None:
    begun = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    local = (begun + timedelta(seconds=0.75)).astimezone()
    logs = {
        "nats/nats.log": f"[7] {local:%Y/%m/%d %H:%M:%S.%f} [INF] Server is ready",
        "postgres/postgres.log": "x\n2030-01-02 03:04:05.500 UTC [9] LOG:  database system is ready"
        " to accept connections\n",
        "logs/engine.log": "no time in this line: engine starts",
    }
    assert first.moments(logs, begun) == [
        report.Stage("at: Postgres is ready", 0.5, "s"),
        report.Stage("at: nats-server is ready", 0.75, "s"),
    ]
