"""Queues, agents and curves without a terminal: merged, in order, honest about gaps."""

from __future__ import annotations

import random
import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from headway.wire.events import AgentBeat, Sample
from headway.wire.fleet import AgentsSample, Metrics, QueueFlow, QueueRow
from headway_tui.model.agents import AgentLine, AgentsView
from headway_tui.model.metrics import MetricsView, rate
from headway_tui.model.queues import QueuesView, Serving, serving_of
from headway_tui.model.sparks import bar, chart, spark, squeeze
from headway_tui.screens.switches import drain_line, limit_flaw, pause_line
from support.boards import TICK, agent_rows, beats, metrics, queue_rows
from support.consoles import NOW

UTC = timedelta()


def agents() -> list[AgentLine]:
    made = AgentsView()
    made.snapshot(agent_rows())
    return made.lines(beats(), TICK)


def view() -> QueuesView:
    made = QueuesView()
    made.asking()
    made.snapshot(queue_rows())
    return made


# --- pictures


def test_a_curve_goes_from_nothing_to_its_greatest_value() -> None:
    assert spark([0, 1, 2, 4, 8], 5) == "▁▁▂▄█"
    assert spark([None, 0, 8], 5) == "   ▁█"
    assert spark([], 3) == "   "
    assert spark([1], 1, top=8) == "▁"
    assert spark([0, 8], 2, ascii_only=True).isascii()
    assert chart([0, 4, 8], 3, 2) == ["  █", "▁██"]


def test_a_peak_is_never_lost_by_squeezing() -> None:
    values: list[float | None] = [0.0] * 900
    values[417] = 5.0
    values[500:520] = [None] * 20
    made = squeeze(values, 38)
    assert len(made) == 38
    assert max(v for v in made if v is not None) == 5.0
    wide: list[float | None] = [None] * 100
    assert squeeze(wide, 10) == [None] * 10


def test_a_bar_shows_any_share_but_none() -> None:
    assert bar(0, 4) == "░░░░"
    assert bar(0.01, 4) == "█░░░"
    assert bar(2, 4) == "████"
    assert bar(None, 4) == "    "
    assert bar(0.5, 4, ascii_only=True) == "##.."


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (0, "0"), (0.051, "0.05"), (4.21, "4.2"), (99.96, "100.0"), (812.3, "812")],
)
def test_rates_are_short(value: float | None, words: str) -> None:
    assert rate(value) == words


# --- queues


def test_engines_side_by_side_are_added_up_and_the_longest_wait_counts() -> None:
    first = view().lines(agents(), NOW)[0]
    assert (first.name, first.came, first.went, first.wait_p95) == ("agents", 4.2, 4.0, 7.9)
    assert first.waiting == 112
    assert first.oldest(NOW) == pytest.approx(8.1)
    (alone,) = [x for x in view().lines([], NOW, ["e2"]) if x.name == "agents"]
    assert (alone.came, alone.wait_p95) == (2.0, 0.4)  # what a dead engine said last counts no more


def test_each_state_says_what_to_do() -> None:
    found = {x.name: (x.state, x.note(UTC)) for x in view().lines(agents(), NOW)}
    assert found == {
        "agents": ("full", "at limit: raise it (L)"),
        "default": ("ok", ""),
        "gpu": ("alone", "no agent: `headway agent`"),
        "slow": ("pause", 'paused by ana 02:35 "llm bill"'),
    }
    made = view()
    made.answered(replace(queue_rows()[0], limit=0))
    busy = [a._replace(beat=a.beat and replace(a.beat, free=0)) for a in agents()[:2]]
    (line,) = [x for x in made.lines(busy, NOW) if x.name == "agents"]
    assert (line.state, line.note(UTC)) == ("ok", "all slots are taken: add agents")


@pytest.mark.parametrize(
    ("sort", "names"),
    [("name", "agents default gpu slow"), ("waiting", "agents slow gpu default"),
     ("oldest", "slow gpu agents default"), ("running", "agents default gpu slow")],
)  # fmt: skip
def test_queues_are_sorted(sort: str, names: str) -> None:
    made = view()
    made.sort = sort
    assert " ".join(x.name for x in made.lines([], NOW)) == names


@pytest.mark.parametrize("seed", range(20))
def test_a_beat_that_crosses_the_snapshot_is_not_lost(seed: int) -> None:
    chance = random.Random(seed)
    told = [QueueRow("q", queued=i, at=NOW + timedelta(seconds=i)) for i in range(6)]
    asked, answered = sorted(chance.sample(range(len(told) + 1), 2))
    made = QueuesView()
    for i, row in enumerate([*told, None]):
        if i == asked:
            made.asking()
        if i == answered:
            # The engine answers with what held at some time since it was asked.
            made.snapshot([replace(told[min(chance.randint(asked, answered), 5)], delayed=2)])
        if row is not None:
            made.hear(row)
    assert made.rows["q"].queued == 5
    assert made.rows["q"].delayed == 2 or answered == len(told)


def test_an_engine_that_does_not_read_the_store_changes_the_flow_alone() -> None:
    made = view()
    made.hear(QueueRow("agents", flows=(QueueFlow("e3", NOW, 1.0, 0.5, 9.0),)))
    (line,) = [x for x in made.lines(agents(), NOW) if x.name == "agents"]
    assert (line.row.queued, line.row.limit) == (110, 32)
    assert (line.came, line.wait_p95) == (5.2, 9.0)
    made.hear(QueueRow("new", queued=1, at=NOW))
    assert "new" in {x.name for x in made.lines([], NOW)}


def test_the_curve_goes_on_by_the_second() -> None:
    made = view()
    made.tick()
    assert tuple(made.depths["gpu"]) == (1, 2, 3, 3)
    assert len(made.depths["agents"]) == 60


def test_only_agents_that_take_runs_serve_a_queue() -> None:
    assert serving_of(agents()) == {"agents": Serving(2, 16, 14), "default": Serving(2, 16, 14)}
    sick = [a._replace(row=replace(a.row, degraded="no disk")) for a in agents()]
    assert serving_of(sick) == {}
    # What the agent says of its slots counts, not how many runs share one.
    crowd = agents()[0]
    beat = crowd.beat and replace(crowd.beat, open=200, free=3, shared_free=56)
    assert serving_of([crowd._replace(beat=beat)])["agents"] == Serving(1, 8, 5)


def test_switches_are_lines_of_a_shell() -> None:
    agents, *_, slow = queue_rows()
    assert pause_line(agents, 'the "bill"') == (
        "headway queue pause agents --reason 'the \"bill\"'"
    )
    assert pause_line(agents, "") == "headway queue pause agents"
    assert pause_line(slow, "") == "headway queue resume slow"
    made = AgentsView()
    made.snapshot(agent_rows())
    first, _, drained, _ = made.lines({}, TICK)
    assert drain_line(first, "disk") == "headway agents drain edge-3 --reason disk"
    assert drain_line(drained, "") == "headway agents drain edge-5 --undo"
    assert [bool(limit_flaw(t)) for t in ("0", "32", "1000000", "", "-1", "x", "1000001", "٣")] == [
        False, False, False, True, True, True, True, True,
    ]  # fmt: skip


# --- agents


def test_an_agent_is_what_its_row_and_its_beat_say_together() -> None:
    made = AgentsView()
    made.snapshot(agent_rows())
    found = {x.name: (x.state, x.note(UTC)) for x in made.lines(beats(), TICK)}
    assert found == {
        "edge-3": ("ok", ""),
        "edge-4": ("ok", "12 log lines dropped"),
        "edge-5": ("drain", 'drained by bo 03:07 "new kernel"'),
        "edge-6": ("lost", "3 runs go elsewhere"),
    }
    quiet = made.lines(beats(), TICK + 10)[0]
    assert (quiet.state, quiet.fresh) == ("silent", None)
    assert made.unsettled(beats(), TICK + 10)
    assert not made.unsettled(beats(), TICK)


def test_the_engine_is_asked_again_when_an_agent_comes_goes_or_drains() -> None:
    made, heard = AgentsView(), beats()
    assert made.stirred(heard, TICK)
    assert not made.stirred(heard, TICK)
    assert made.stirred(heard, TICK + 2.5)  # one went silent
    heard["edge-3"] = (replace(heard["edge-3"][0], draining=True), TICK + 2.5)
    assert made.stirred(heard, TICK + 2.5)


# --- metrics


def test_seconds_are_added_up_and_what_nobody_told_is_a_gap() -> None:
    made = MetricsView()
    made.snapshot(metrics())
    curves = {c.name: c for c in made.curves(NOW, 900)}
    started = curves["started/s"].values
    assert len(started) == 900
    assert started[310] is None
    assert started[700] == pytest.approx(_started(700), abs=0.02)
    assert curves["nats pend"].high == "30"
    assert curves["pg pool"].now.endswith("/20")  # two engines, ten connections each
    assert curves["wait p95"].high == "8.5s"
    assert made.live(NOW) == ["engine-a", "engine-b"]
    assert made.held(NOW, 900) == 900
    assert made.held(NOW, 3600) == 900


def _started(i: int) -> float:
    """Of both engines, in a second later (the last second is not complete, so it is left out)."""
    found = metrics()
    second = int(NOW.timestamp()) - 900 + i
    return sum(
        s.started for some in found.engines.values() for s in some
        if int(s.at.timestamp()) == second
    )  # fmt: skip


def test_what_is_heard_goes_on_where_the_snapshot_ends() -> None:
    made = MetricsView()
    made.snapshot(Metrics(NOW, {"e": [Sample(NOW, started=1.0)]}, [AgentsSample(NOW, 5.0)]))
    later = NOW + timedelta(seconds=1)
    made.hear("e", Sample(later, started=3.0))
    made.hear("old-engine", None)

    def beat(lines: float) -> AgentBeat:
        return AgentBeat("a", "d", "a", "docker", (), 1, 0, 0, counters={"log_lines": lines})

    made.tick([beat(100)], later)
    made.tick([beat(130)], later + timedelta(seconds=1))
    made.tick([beat(7)], later + timedelta(seconds=2))  # it was started anew
    curves = {c.name: c for c in made.curves(later + timedelta(seconds=3), 60)}
    assert curves["started/s"].values[-4:] == [1.0, 3.0, None, None]
    assert curves["log lines/s"].values[-4:] == [5.0, 0.0, 30.0, 7.0]
    assert made.totals == (7, 0, 0)


def test_an_hour_is_kept_and_no_more() -> None:
    made = MetricsView()
    made.hear("e", Sample(NOW))
    made.tick([], NOW + timedelta(seconds=3601))
    assert made.engines == {}
    begun = time.perf_counter()
    made.snapshot(metrics())
    made.curves(NOW, 3600)
    assert time.perf_counter() - begun < 5
