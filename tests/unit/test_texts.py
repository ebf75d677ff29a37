"""Durations, sizes and ages in words: one form for console and command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headway.texts import age, plural, size, span, took, tries
from headway.wire.runs import RunRow


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0ms"), (0.00003, "<0.1ms"), (0.0004, "0.4ms"), (0.25, "250ms"), (0.9996, "1.0s"),
     (12.34, "12.3s"), (59.96, "1m00s"), (252, "4m12s"), (11100, "3h05m"), (187200, "2d04h"),
     (-2, "0.0s")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_how_long_a_run_took() -> None:
    made = datetime(2026, 1, 2, tzinfo=UTC)
    claimed, begun = made + timedelta(seconds=1), made + timedelta(seconds=2)
    now = made + timedelta(minutes=1)
    row = RunRow("01JD9K4W2M", "t", "queued", "q", made)
    assert took(row, now) == "-"
    row.claimed_at = claimed
    assert took(row, now) == "-"
    row.started_at = begun
    assert took(row, now) == "58.0s"
    row.ended_at = begun + timedelta(seconds=3)
    assert took(row, now) == "3.0s"


def test_a_run_that_ended_in_the_commit_that_began_it_counts_from_its_claim() -> None:
    made = datetime(2026, 1, 2, tzinfo=UTC)
    ended = made + timedelta(seconds=39, milliseconds=612)
    row = RunRow("01JD9K4W2M", "t", "succeeded", "q", made, started_at=ended, ended_at=ended)
    assert took(row, ended) == "0.0ms"
    row.claimed_at = ended - timedelta(milliseconds=12)
    assert took(row, ended) == "12ms"


def test_tries_that_are_not_known_are_not_told() -> None:
    row = RunRow("01JD9K4W2M", "t", "running", "q", datetime(2026, 1, 2, tzinfo=UTC), attempt=2)
    assert (tries(row), tries(row, " of ")) == ("2", "2")
    row.max_attempts = 5
    assert (tries(row), tries(row, " of ")) == ("2/5", "2 of 5")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1234, "1.2 KiB"), (64_000_000, "61.0 MiB"),
     (767_557_632, "732 MiB"), (5_000_000_000, "4.7 GiB"), (2**40, "1024 GiB")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_ages_and_counts() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ages = [timedelta(seconds=12), timedelta(minutes=4, seconds=5), timedelta(days=2, hours=3)]
    assert [age(now - a, now) for a in ages] == ["12s", "4m", "2d"]
    assert (age(None, now), age(now + timedelta(seconds=3), now)) == ("-", "0s")
    assert [plural(n, "run") for n in (0, 1, 1204)] == ["0 runs", "1 run", "1,204 runs"]
