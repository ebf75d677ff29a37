"""Numbers for Prometheus: their buckets, their names, and what ops/deploy builds on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway_engine.agent.config import AgentConfig
from headway_engine.config import BadConfig, load_config
from headway_engine.counters import COUNTED
from headway_engine.metrics.endpoint import Endpoint, parse_listen
from headway_engine.metrics.families import (
    AGENT_COUNTERS,
    AGENT_TIMINGS,
    ENGINE_COUNTERS,
    ENGINE_GAUGES,
    ENGINE_TIMINGS,
    Family,
    agent_families,
    engine_families,
)
from headway_engine.metrics.timing import BOUNDS, Timing
from headway_engine.store.records import QueueState
from support.scrape import scrape, serving

PROMETHEUS = Path(__file__).parents[2] / "ops" / "deploy" / "prometheus"


def everything() -> list[Family]:
    """Each metric that an engine or an agent has."""
    engine = engine_families(
        {"engine": "e"},
        dict.fromkeys(ENGINE_COUNTERS | ENGINE_GAUGES, 3.0),
        {name: Timing() for name in ENGINE_TIMINGS},
        ready=True, store_up=True, ends={"succeeded": 2}, queues=[QueueState("d", 'q"\n\\')],
        waits={("d", "q"): Timing()}, start=Timing(), states={("d", "running"): 1},
    )  # fmt: skip
    agent = agent_families(
        {"agent": "a"},
        dict.fromkeys(AGENT_COUNTERS, 3.0),
        {name: Timing() for name in AGENT_TIMINGS},
        slots=(8, 256), free=(1, 2), warm=3, ready=True, degraded=False, draining=False,
    )  # fmt: skip
    return engine + agent


def series() -> set[str]:
    """The names as a query writes them."""
    found: set[str] = set()
    for family in everything():
        if family.kind == "histogram":
            found |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        else:
            found.add(family.name + ("_total" if family.kind == "counter" else ""))
    return found


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() -> None:
    timing = Timing()
    for seconds in (0.0, 0.0005, 0.0006, 5000.0, -1.0):
        timing.add(seconds)
    counts = dict(timing.cumulative())
    assert (counts["0.0005"], counts["0.001"], counts[str(BOUNDS[-1])]) == (3, 4, 4)
    assert counts["+Inf"] == timing.count == 5
    assert timing.total == pytest.approx(5000.0011)


def test_each_counter_of_an_engine_has_a_metric() -> None:
    assert {f"headway_engine_{name}_total" for name in COUNTED} <= series()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_metrics_listen_is_loopback_unless_it_says_more(text: str, place: tuple[str, int]) -> None:
    assert parse_listen(text) == place


@pytest.mark.parametrize("section", ["ENGINE", "AGENT"])
@pytest.mark.parametrize("text", ["here", "a:b", "1:70000", "127.0.0.1:"])
def test_a_place_that_is_none_is_refused_with_its_setting(section: str, text: str) -> None:
    env = {f"HEADWAY_{section}_METRICS_LISTEN": text, "HEADWAY_AGENT_STATE_DIR": "s"}
    with pytest.raises(BadConfig, match=r"METRICS_LISTEN.*HOST:PORT"):
        load_config(None, env)


def test_nobody_listens_unless_it_is_asked_for() -> None:
    assert load_config(None, {}).engine.metrics_listen == ""
    assert AgentConfig("s").metrics_listen == ""


async def test_a_scrape_gives_what_was_gathered_with_every_label_intact() -> None:
    async with serving(Endpoint("0", everything)) as endpoint:
        found = await scrape(endpoint.address)
    assert found.keys() >= series()
    assert found["headway_queue_queued"] == {(("ns", "d"), ("queue", 'q"\n\\')): 0.0}
    assert found["headway_engine_transitions_total"] == {(("kind", "succeeded"),): 2.0}


async def test_a_failure_in_one_scrape_leaves_the_next_one_alone() -> None:
    numbers = iter([None, everything()])

    def gather() -> list[Family]:
        found = next(numbers)
        if found is None:
            raise RuntimeError("not now")
        return found

    async with serving(Endpoint("0", gather)) as endpoint:
        with pytest.raises(OSError, match="500"):
            await scrape(endpoint.address)
        assert await scrape(endpoint.address)


async def test_a_port_that_is_taken_is_said_with_the_setting() -> None:
    async with serving(Endpoint("0", everything)) as endpoint:
        assert endpoint.address is not None
        with pytest.raises(Exception, match=r"metrics_listen 127\.0\.0\.1:\d+: .*in use"):
            await Endpoint(str(endpoint.address[1]), everything).run()


def expressions() -> list[Any]:
    dashboard = json.loads((PROMETHEUS / "dashboard.json").read_text())
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    found = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_the_dashboard_and_the_alerts_name_only_metrics_that_exist() -> None:
    named = {name for text in expressions() for name in re.findall(r"\bheadway_\w+", text)}
    assert len(named) > 20
    assert named <= series()


def test_each_alert_says_what_it_saw_and_where_to_look() -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert rule["annotations"].keys() == {"summary", "look"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "warn", "info"}
