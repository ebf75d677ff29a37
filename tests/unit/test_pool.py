"""What the warm pool decides: marks, caps, ages; plans and their keys."""

from __future__ import annotations

import resource
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pytest

from headway.wire import Malformed, decode, decoder
from headway.wire.fleet import Deployment, TaskSpec
from headway.wire.rpc import VersionInfo
from headway_engine.agent.config import Caps, WarmConfig
from headway_engine.agent.host import Host
from headway_engine.agent.plans import NotAllowed, Plan, plan_of
from headway_engine.agent.shelves import (
    SETTLE,
    WARM_SIZE,
    Shelf,
    Tokens,
    discards,
    refill_plan,
    target_of,
)
from headway_engine.agent.sources import Source
from headway_engine.agent.worker import Worker

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = WarmConfig(low=1, high=4, busy=10, idle=300, max_age=600, memory=100 * WARM_SIZE)
INFO = VersionInfo("v1", modules=("app",))


def plan(**spec: Any) -> Plan:
    return plan_of(TaskSpec(task="t", **spec), INFO, Caps())


def shelf(used: float, warm: int = 0, born: float = 0.0, **changes: Any) -> Shelf:
    made = plan(**changes)
    host = cast("Any", None)
    workers = deque(Worker(host, made, f"w{i}", born + i) for i in range(warm))
    return Shelf(made, used, workers)


@pytest.mark.parametrize(("age", "target"), [(0, 4), (10, 4), (11, 1), (300, 1), (301, 0)])
def test_a_shelf_shrinks_from_its_high_mark_to_nothing(age: float, target: int):
    assert target_of(shelf(used=0.0), CONFIG, age) == target


def test_nothing_is_kept_warm_of_a_replaced_version_or_a_shared_task():
    old = shelf(used=0.0)
    old.retired = True
    assert target_of(old, CONFIG, 0.0) == 0
    assert target_of(shelf(used=0.0, isolation="shared"), CONFIG, 0.0) == 0


def test_refill_fills_the_gap_and_counts_what_is_being_started():
    half = shelf(used=0.0, warm=1)
    half.starting = 1
    assert refill_plan([half], CONFIG, 1.0) == [half, half]


def test_refill_lets_a_run_that_was_just_taken_start_unless_the_shelf_is_low():
    assert refill_plan([shelf(used=1.0, warm=1)], CONFIG, 1.0 + SETTLE / 2) == []
    taken = shelf(used=1.0, warm=1)
    assert refill_plan([taken], CONFIG, 1.0 + SETTLE) == [taken] * 3
    low = shelf(used=1.0)
    assert refill_plan([low], CONFIG, 1.0 + SETTLE / 2) == [low] * 4


def test_refill_keeps_within_the_memory_cap_and_serves_the_latest_first():
    small = WarmConfig(low=1, high=4, memory=3 * WARM_SIZE)
    older, newer = shelf(used=1.0, memory=1), shelf(used=2.0, memory=2)
    assert refill_plan([older, newer], small, 3.0) == [newer] * 3
    newer.starting = 3
    assert refill_plan([older, newer], small, 3.0) == []


def test_old_and_surplus_runners_are_discarded_the_oldest_first():
    aged = shelf(used=1000.0, warm=2, born=100.0)
    assert discards(aged, CONFIG, 1000.0) == list(aged.warm)
    idle = shelf(used=0.0, warm=3, born=100.0)
    assert [w.name for w in discards(idle, CONFIG, 200.0)] == ["w0", "w1"]


def test_tokens_bound_the_rate_after_a_burst():
    tokens = Tokens(2.0, 3, 0.0)
    assert [tokens.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert tokens.take(0.5)
    assert not tokens.take(0.5)


def test_key_holds_what_belongs_to_the_container_and_nothing_of_the_task_beside():
    assert plan().key == plan(timeout=5, queue="other", max_attempts=9).key
    keys = {
        plan().key, plan(memory=1).key, plan(cpus=2).key, plan(pids=7).key,
        plan(network="egress").key, plan(env=("A",)).key, plan(secrets=("A",)).key,
        plan(isolation="shared").key,
        plan_of(TaskSpec(task="t"), VersionInfo("v2", modules=("app",)), Caps()).key,
        plan_of(TaskSpec(task="t"), VersionInfo("v1", image="sha256:1"), Caps()).key,
    }  # fmt: skip
    assert len(keys) == 10


def test_limits_never_go_over_the_agents_caps_and_networks_are_on_a_list():
    made = plan_of(TaskSpec(task="t", memory=10**12, cpus=99, pids=9999), INFO, Caps(1, 2.0, 3))
    assert (made.limits.memory, made.limits.cpus, made.limits.pids) == (1, 2.0, 3)
    with pytest.raises(NotAllowed):
        plan(network="host")


def test_without_file_descriptors_no_source_has_changed_and_the_numbers_of_the_host_stay(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").touch()
    source = Source(tmp_path)
    host = Host()
    host.look()
    seen = host.memory
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        assert source.look() is None
        host.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert host.memory == seen > 0
    assert source.look() is not None


@pytest.mark.parametrize(
    "source",
    [
        "/", "/etc", "/etc/ssl", "/home", "/root", "/var/run", "/run/docker.sock", "/proc/1/root",
        "relative", "/srv/../etc", "/srv/app:/etc", "/srv/app\0", "//etc",
    ],
)  # fmt: skip
def test_no_container_sees_the_systems_own_folders_whoever_deploys(source: str):
    info = VersionInfo("v1", source=source)
    with pytest.raises(NotAllowed, match="is not mounted"):
        plan_of(TaskSpec(task="t"), info, Caps(), source_at="/app")
    fine = VersionInfo("v1", source="/srv/app")
    assert plan_of(TaskSpec(task="t"), fine, Caps(), source_at="/app").source == "/srv/app"


@pytest.mark.parametrize(
    "limits",
    [
        '"memory":0', '"memory":-1', '"pids":0', '"pids":-1', '"cpus":0', '"cpus":-1',
        '"timeout":0', '"grace":-1', '"max_attempts":0', '"memory":1e300', '"isolation":"host"',
    ],
)  # fmt: skip
def test_limits_that_an_engine_takes_for_none_are_refused_at_the_door(limits: str):
    body = '{"version":"v1","tasks":[{"task":"t",' + limits + "}]}"
    with pytest.raises(Malformed):
        decode(decoder(Deployment), body.encode())
