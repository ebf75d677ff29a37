from __future__ import annotations

from headway_ops.chaos.plan import KINDS, choose, draw


def test_the_same_seed_draws_the_same_faults():
    first = draw(7, KINDS, 2.0, 60.0, freeze=2.0)
    assert first == draw(7, KINDS, 2.0, 60.0, freeze=2.0)
    assert first != draw(8, KINDS, 2.0, 60.0, freeze=2.0)


def test_faults_come_about_as_often_as_asked_and_each_kind_early():
    for seed in range(50):
        faults = draw(seed, KINDS, 2.0, 60.0, freeze=2.0)
        assert 22 <= len(faults) <= 42
        assert [f.at for f in faults] == sorted(f.at for f in faults)
        assert all(2.0 <= f.at < 60.0 for f in faults)
        early = {(f.kind, f.how) for f in faults[: len(faults) // 2]}
        assert {k for k, _ in early} == set(KINDS)
        assert ("agent", "stop") in early
        assert ("engine", "kill") in early


def test_only_the_kinds_that_were_asked_for_are_hit():
    faults = draw(1, ["task", "agent"], 1.0, 30.0, freeze=2.0)
    assert {f.kind for f in faults} == {"task", "agent"}


def test_a_frozen_agent_stands_still_for_longer_than_its_lease_and_a_postmaster_never_does():
    faults = [f for seed in range(30) for f in draw(seed, KINDS, 2.0, 60.0, freeze=15.0)]
    frozen = [f for f in faults if f.how == "stop"]
    assert all(15.0 <= f.hold <= 30.0 for f in frozen if f.kind == "agent")
    assert all(f.hold <= 6.0 for f in frozen if f.kind != "agent")
    assert {f.kind for f in frozen} == {"agent", "engine", "nats", "task"}


def test_no_time_and_no_victim_mean_no_fault():
    assert draw(1, KINDS, 2.0, 1.0, freeze=2.0) == []
    assert choose([], 0.5) == ""
    assert choose(["a", "b"], 0.999) == "b"
