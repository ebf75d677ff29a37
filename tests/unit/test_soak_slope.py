from __future__ import annotations

import random

import pytest

from chaos.soak.slope import blocks, slope


def test_a_line_has_its_slope_and_no_bound():
    found = slope([0, 1, 2, 3], [5, 7, 9, 11])
    assert found.per_second == pytest.approx(2)
    assert found.bound == pytest.approx(0, abs=1e-9)
    assert found.rises


def test_noise_does_not_rise_and_a_rise_under_noise_is_seen():
    rng = random.Random(1)
    times = [float(t) for t in range(300)]
    noise = [rng.gauss(100, 3) for _ in times]
    assert not slope(times, noise).rises
    assert slope(times, [v + 0.05 * t for t, v in zip(times, noise, strict=True)]).rises


def test_what_does_not_change_does_not_rise():
    assert not slope([0, 1, 2], [4, 4, 4]).rises
    with pytest.raises(ValueError, match="3 samples"):
        slope([0, 1], [1, 2])


def test_what_wanders_slowly_is_no_slope_when_its_stretches_count_as_one():
    rng = random.Random(3)
    level, samples = 0.0, list[tuple[float, float]]()
    for t in range(0, 1800, 5):
        if t % 60 == 0:
            level = rng.gauss(100, 5)
        samples.append((float(t), level))
    alone = slope([t for t, _ in samples], [v for _, v in samples])
    means = blocks(samples, 60.0)
    assert len(means) == 30
    together = slope([t for t, _ in means], [v for _, v in means])
    assert together.per_second == pytest.approx(alone.per_second, abs=2e-4)
    assert together.bound > 3 * alone.bound
    risen = [(t, v + 0.05 * t) for t, v in means]
    assert slope([t for t, _ in risen], [v for _, v in risen]).rises
