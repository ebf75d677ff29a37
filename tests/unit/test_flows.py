"""What an engine counts of its queues, and the samples it makes of what it counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from headway.states import RunState
from headway.wire.events import Event
from headway.wire.fleet import QueueFlow, QueueRow
from headway_engine.flows import IDLE_AFTER, Flows
from headway_engine.metrics.timing import BOUNDS, Lately, Timing, quantile
from headway_engine.presence import same
from headway_engine.sampling import Sampler
from headway_engine.store.records import Outcome, Run

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLACE = ("default", "agents")


def event(kind: str, target: str = "", at: datetime = NOW) -> Event:
    return Event(1, at, kind, target=target)


def given(waited: float | None, queue: str = "agents") -> Any:
    return SimpleNamespace(run=SimpleNamespace(ns="default", queue=queue), waited=waited)


def test_a_quantile_lies_in_its_bucket() -> None:
    timing = Timing()
    assert quantile(timing.counts, 0.95) is None
    for _ in range(95):
        timing.add(0.2)
    for _ in range(5):
        timing.add(40.0)
    assert quantile(timing.counts, 0.5) == pytest.approx(0.1 + 0.15 * 50 / 95)
    assert quantile(timing.counts, 0.95) == pytest.approx(0.25)
    high = quantile(timing.counts, 0.99)
    assert high is not None
    assert 10 < high <= 60
    timing.add(1e9)
    assert quantile(timing.counts, 1.0) == BOUNDS[-1]


def test_only_the_last_minute_counts() -> None:
    timing = Timing()
    lately = Lately(timing)
    timing.add(30.0)
    lately.tick(0.0)
    assert lately.p95() is not None
    for second in range(1, 62):
        lately.tick(float(second))
    assert lately.p95() is None
    timing.add(0.001)
    assert (lately.p95() or 1) <= 0.001


def test_runs_that_come_and_go_are_rates_over_ten_seconds() -> None:
    flows = Flows()
    for _ in range(20):
        flows.seen(*PLACE, [event("queued", "QUEUED")])
    flows.seen(*PLACE, [event("starting", "STARTING"), event("started", "RUNNING")])
    flows.seen("default", "", [event("checkpoint")])
    flows.claimed([given(2.0), given(None)])
    flows.tick(100.0)
    flow = flows.flow(PLACE, "e1", NOW)
    assert flow is not None
    assert (flow.engine, flow.came, flow.went) == ("e1", 2.0, 0.1)
    assert 1.0 < (flow.wait_p95 or 0) <= 2.5
    assert flows.moves == 21
    for second in range(101, 113):
        flows.tick(float(second))
    flow = flows.flow(PLACE, "e1", NOW)
    assert flow is not None
    assert (flow.came, flow.went) == (0.0, 0.0)
    flows.tick(100.0 + IDLE_AFTER + 1)
    assert flows.flow(PLACE, "e1", NOW) is None
    assert flows.waits[PLACE].count == 1  # what Prometheus sees never shrinks


def test_the_start_of_an_attempt_is_timed_from_its_claim() -> None:
    flows = Flows()
    claimed = NOW - timedelta(seconds=2)
    run = Run("r", "default", "t", "q", RunState.RUNNING, NOW, claimed_at=claimed)
    flows.told([Outcome("ok", run=run, events=[event("started", "RUNNING")]),
                Outcome("ok", run=run, events=[event("succeeded", "SUCCEEDED")]),
                Outcome("already", run=run)])  # fmt: skip
    assert (flows.start.count, flows.start.total) == (1, 2.0)


def test_a_sample_says_what_grew_since_the_one_before() -> None:
    kinds = {"started": 5}
    wait, start, save = Timing(), Timing(), Timing()
    sampler = Sampler(kinds, wait, start, save, 10.0)
    kinds |= {"started": 9, "failed": 1, "timed_out": 1, "retrying": 3}
    save.add(0.004)
    sample = sampler.take(NOW, 12.0, 7, (2, 10))
    assert (sample.started, sample.failed, sample.retried) == (2.0, 1.0, 1.5)
    assert (sample.wait_p95, sample.start_p95) == (None, None)
    assert sample.save_p95 == pytest.approx(0.005, rel=0.3)
    assert (sample.pending, sample.pool_used, sample.pool_size) == (7, 2, 10)
    assert sampler.take(NOW, 13.0, 0, (0, 10)).started == 0.0


def test_a_row_that_says_the_same_later_need_not_be_said() -> None:
    later = NOW + timedelta(seconds=1)
    one = QueueRow("q", queued=1, at=NOW, flows=(QueueFlow("e", NOW, 1.0),))
    assert same(one, QueueRow("q", queued=1, at=later, flows=(QueueFlow("e", later, 1.0),)))
    assert not same(one, QueueRow("q", queued=2, at=NOW, flows=(QueueFlow("e", NOW, 1.0),)))
    assert not same(one, QueueRow("q", queued=1, at=NOW, flows=(QueueFlow("e", NOW, 1.5),)))
