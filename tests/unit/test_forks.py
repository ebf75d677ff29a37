"""Where a fork starts, and merge patches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import Refused
from headway.forks import Failure, apply, choose, difference, edit_of, merge
from headway.wire.runs import CheckpointRow

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = [
    CheckpointRow(n, f"turn-{n}", 1, AT + timedelta(seconds=n), 1) for n in (1, 5, 6, 7)
]  # the keeping rule took 2 to 4
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def failure(seconds: float, kind: str = "E") -> Failure:
    return Failure(AT + timedelta(seconds=seconds), kind)


@pytest.mark.parametrize(
    ("start", "number"),
    [("last", 7), ("#5", 5), ("#2", 0), ("name:turn-[56]", 6), ("name:x*", 0), ("start", 0)],
)
def test_a_start_names_a_checkpoint_that_is_kept(start: str, number: int) -> None:
    found = choose(start, ROWS)
    assert (found.number if found else 0) == number


def test_before_error_is_before_the_last_error_struck_first() -> None:
    def number(*failures: Failure) -> int:
        found = choose("before-error", ROWS, failures)
        return found.number if found else 0

    assert number() == 7
    assert number(failure(5.5), failure(7.5)) == 5
    assert number(failure(5.5, "Other"), failure(6.5), failure(7.5)) == 6
    assert number(failure(0.5)) == 0


@pytest.mark.parametrize("start", ["", "#", "#0", "#-1", "name:", "7", "first", "#99999999999"])
def test_a_start_that_means_nothing_is_refused_with_what_is_expected(start: str) -> None:
    with pytest.raises(Refused, match="expected start, last, #7"):
        choose(start, ROWS)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_do_what_their_rfc_says(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


@given(JSON, JSON)
def test_an_edit_leads_from_one_body_to_the_other(old: Any, new: Any) -> None:
    edit = edit_of(old, new)
    body = msgspec.json.encode(old)
    after = body if edit is None else apply(edit, body, "state")
    assert msgspec.json.encode(msgspec.json.decode(after), order="sorted") == msgspec.json.encode(
        new, order="sorted"
    )


def test_a_patch_is_as_small_as_the_change() -> None:
    assert difference({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 1, "y": 4}}) == {
        "b": None,
        "a": {"y": 4},
    }
    # To a machine true is not 1.
    assert difference({"a": 1}, {"a": True}) == {"a": True}
