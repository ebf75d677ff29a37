"""Run ids: ULIDs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.ids import derived_run_id, encode, is_run_id, new_run_id, time_of


def test_the_specifications_example() -> None:
    assert encode(1469918176385, 0)[:10] == "01ARYZ6S41"


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
def test_an_id_is_well_formed_and_tells_its_time(ms: int, randomness: int) -> None:
    made = encode(ms, randomness)
    assert is_run_id(made)
    assert time_of(made) == ms


@given(st.integers(0, 2**48 - 2), st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1))
def test_ids_sort_by_time(ms: int, one: int, other: int) -> None:
    assert encode(ms, one) < encode(ms + 1, other)


def test_fresh_ids_differ() -> None:
    assert len({new_run_id() for _ in range(1000)}) == 1000
    assert time_of(new_run_id(1234)) == 1234


def test_derived_ids_are_the_same_for_the_same_parts_only() -> None:
    assert derived_run_id(5, "a", "b") == derived_run_id(5, "a", "b")
    assert derived_run_id(5, "a", "b") != derived_run_id(5, "ab", "")
    assert derived_run_id(5, "a") != derived_run_id(6, "a")
    assert is_run_id(derived_run_id(5, "\ud800", "\x00"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "01ARYZ6S41TSV4RRFFQ69G5FA",
        "81ARYZ6S41TSV4RRFFQ69G5FAV",
        "01aryz6s41tsv4rrffq69g5fav",
        "01ARYZ6S41TSV4RRFFQ69G5FAI",
        "01ARYZ6S41TSV4RRFFQ69G5FAV\n",
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert not is_run_id(text)
