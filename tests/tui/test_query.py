"""The filter line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headway.wire.commands import RunsQuery
from headway_tui.query import BadFilter, filter_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_words_become_what_the_engine_is_asked() -> None:
    text = "status:failed,retrying task:research-* tag:a tag:b since:2h 429 llm"
    assert filter_of(text, NOW) == RunsQuery(
        status=("failed", "retrying"), task="research-*", tags=("a", "b"),
        since=NOW - timedelta(hours=2), text="429 llm",
    )  # fmt: skip
    assert filter_of("", NOW) == RunsQuery()


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [("task:x status:fail", 7, "no status 'fail'"), ("statsu:failed", 0, "no field"),
     ("since:soon", 0, "a time span"), ("task:", 0, "needs a value")],
)  # fmt: skip
def test_a_bad_word_is_named_with_its_place(text: str, at: int, what: str) -> None:
    with pytest.raises(BadFilter, match=what) as caught:
        filter_of(text, NOW)
    assert caught.value.at == at
