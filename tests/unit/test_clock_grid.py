"""When what need not come at a moment of its own wakes: together with others, and never late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway_engine.clock import on_grid

NOW = st.floats(0, 1e7)


@given(NOW, st.floats(0.5, 3600))
def test_it_rests_no_longer_than_asked_and_wakes_on_a_whole_or_half_second(
    now: float, seconds: float
) -> None:
    rest = on_grid(now, seconds)
    assert 0 <= rest <= seconds + 0.011
    step = 1.0 if seconds >= 1 else 0.5
    at = (now + rest) / step
    assert rest == 0 or abs(at - round(at)) < 1e-6


@given(NOW, NOW)
def test_what_rests_for_a_second_wakes_in_the_same_moments(one: float, other: float) -> None:
    first = [one + on_grid(one, 1.0), other + on_grid(other, 1.0)]
    phases = [round(at % 1.0, 6) % 1.0 for at in first]
    assert phases[0] == phases[1]


@given(st.integers(1, 10**6), st.floats(-0.009, 0.2))
def test_a_pass_a_second_stays_one_a_second(second: int, off: float) -> None:
    """A timer may be a little early, and a pass takes its time."""
    now = second + off
    assert abs(now + on_grid(now, 1.0) - (second + 1)) < 1e-6


@given(NOW, st.floats(0, 0.4999))
def test_what_rests_for_less_rests_as_long_as_it_wants(now: float, seconds: float) -> None:
    assert on_grid(now, seconds) == seconds
