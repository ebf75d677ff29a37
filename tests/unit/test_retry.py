"""Backoff arithmetic, durations, policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import BadPolicy
from headway.retry import Retry, RetryPolicy, backoff, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2d", 172800),
        ("1w", 604800),
        (5, 5),
        (0.5, 0.5),
        (0, 0),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations(text: Any, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad", ["", "soon", "5", "5 parsecs", "-1s", "s", "1..5s", -1, True, float("nan"), 1e12]
)
def test_what_is_no_duration_is_refused(bad: Any) -> None:
    with pytest.raises(BadPolicy, match="delay="):
        seconds(bad, "delay")


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    policy = RetryPolicy(factor=2, min_delay=1, max_delay=10, jitter=0)
    assert [backoff(policy, n, 0.5) for n in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_a_delay_stays_within_its_jitter(failures: int, random: float, jitter: float) -> None:
    policy = RetryPolicy(jitter=jitter)
    base = backoff(RetryPolicy(jitter=0), failures, random)
    assert base * (1 - jitter) <= backoff(policy, failures, random) <= base * (1 + jitter)


def test_the_jitter_spreads_both_ways() -> None:
    policy = RetryPolicy(min_delay=10, jitter=0.1)
    assert backoff(policy, 1, 0.0) == pytest.approx(9)
    assert backoff(policy, 1, 0.5) == pytest.approx(10)
    assert backoff(policy, 1, 0.999) == pytest.approx(11, rel=0.001)


def test_the_defaults() -> None:
    assert Retry().policy == RetryPolicy(3, 2.0, 1.0, 60.0, 0.1)


@pytest.mark.parametrize(
    "policy",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"factor": 0.5},
        {"min_delay": "10s", "max_delay": "5s"},
        {"jitter": 2},
        {"min_delay": "x"},
    ],
)
def test_a_bad_policy_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(BadPolicy, match="expected"):
        Retry(**policy)
