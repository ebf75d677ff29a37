"""The filter line: what it means, how it goes on, what is wrong with it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.query import parse
from headway.query.evaluate import matches
from headway.states import RunState
from headway.wire.events import Event, RunEvents
from headway.wire.runs import RunRow
from headway_tui.query import (
    complete,
    flaw_of,
    hints,
    looser,
    possible,
    same_error,
    window,
    with_term,
)
from support.queries import queries

if TYPE_CHECKING:
    from headway.query import Query


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


NOW = datetime(2026, 1, 2, 13, 4, 5, tzinfo=UTC)


def counted(field: str, before: str) -> list[tuple[str, int]]:
    return {
        "status": [("failed", 97), ("retrying", 21)],
        "error": [("RateLimitError", 97), ("Time out", 3)],
        "task": [("report-daily", 5), ("report-weekly", 2)] if not before else [],
    }.get(field, [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("st", [("status:", None)]),
        ("status:f", [("status:failed", 97)]),
        ("task:x status:failed,ret", [("task:x status:failed,retrying", 21)]),
        ("!task:rep", [("!task:report-daily", 5), ("!task:report-weekly", 2)]),
        ("error:ti", [('error:"Time out: "', 3)]),
        ("a task:rep", []),
        ('error:"half', []),
        ("dur:", []),
    ],
)
def test_a_word_goes_on_with_keys_and_then_with_what_there_is(
    text: str, found: list[tuple[str, int | None]]
) -> None:
    assert [(h.text, h.runs) for h in hints(text, counted)] == found


def test_states_are_offered_though_nobody_has_them() -> None:
    found = hints("status:", counted)
    assert [h.label for h in found[:3]] == ["failed", "retrying", "delayed"]
    assert found[2].runs is None


@given(st.text('abct:statusk*!," -', max_size=20))
def test_hints_for_anything_typed_are_queries_that_can_go_on(text: str) -> None:
    for hint in hints(text, counted):
        if hint.runs is not None and flaw_of(text.rpartition(" ")[0]) is None:
            assert flaw_of(hint.text) is None


def test_what_is_half_typed_is_not_followed() -> None:
    assert [complete(t) for t in ("", "acme", "status:failed", "a status:dead ")] == [True] * 4
    assert [complete(t) for t in ("sta", "acme !t", "status:fai", "since:")] == [False] * 4


@pytest.mark.parametrize(
    ("text", "part", "what"),
    [
        ("task:x status:fail", "fail", "no status 'fail'"),
        ("statsu:failed", "statsu:failed", "no field"),
        ("a since:soon b", "soon", "no time"),
        ("task:", "", "a value of task: is missing"),
    ],
)
def test_a_flaw_has_its_place_and_says_what_was_expected(text: str, part: str, what: str) -> None:
    flaw = flaw_of(text)
    assert flaw is not None
    assert text[flaw.start : flaw.end] == part
    assert what in flaw.words
    assert "expected" in flaw.words
    assert flaw_of("status:failed") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status:failed", "all time"),
        ("since:2h", "from 11:04:05"),
        ("since:10:00 until:2026-01-02T12:00Z", "from 10:00, until 12:00"),
        ("!since:2d", "before 2025-12-31 13:04:05"),
        ("since:", ""),
    ],
)
def test_the_window_is_always_said(text: str, words: str) -> None:
    assert window(text, NOW) == words


def test_other_queries_are_made_of_one() -> None:
    text = "status:failed task:a since:2h word"
    assert same_error(text, "RateLimitError") == 'task:a since:2h error:"RateLimitError: "'
    assert with_term(text, "status", "dead") == "task:a since:2h word status:dead"
    assert with_term("nope:1", "tag", "a b") == 'tag:"a b"'
    assert looser("status:failed since:2h") == [
        ("status:failed", "since:2h"), ("since:2h", "status:failed"),
    ]  # fmt: skip


@given(queries(st.just("01JD")), st.sampled_from(list(RunState)), st.data())
def test_no_run_that_comes_to_match_is_passed_over(
    query: Query, state: RunState, data: st.DataObject
) -> None:
    """Whatever the rest of the run: if it matches after an event, it was possible."""
    word = st.text("abc-", max_size=3)
    task, queue = data.draw(word), data.draw(word)
    row = RunRow(
        "01JD9K4W2M8QZ5V7N3XBTRFHCA", task, state.status, queue, NOW - timedelta(minutes=1)
    )
    body = RunEvents(row.run, "default", task, [Event(3, NOW, "x", target=state.value)], queue)
    if matches(query, row, NOW):
        assert possible(query, body)


@given(queries(st.just("01JD")), st.data())
def test_no_run_that_comes_to_match_by_its_tags_is_passed_over(
    query: Query, data: st.DataObject
) -> None:
    """In whatever state: if it matches since it was tagged, and did not before, it was possible."""
    word = st.text("abc-", max_size=3)
    task, queue, state = (
        data.draw(word),
        data.draw(word),
        data.draw(st.sampled_from(list(RunState))),
    )
    before, after = (tuple(data.draw(st.lists(word, max_size=3))) for _ in range(2))
    run, made = "01JD9K4W2M8QZ5V7N3XBTRFHCA", NOW - timedelta(minutes=1)
    event = Event(3, NOW, "tagged", data={"tags": list(after)})
    body = RunEvents(run, "default", task, [event], queue)
    had, has = (RunRow(run, task, state.status, queue, made, tags=t) for t in (before, after))
    if matches(query, has, NOW) and not matches(query, had, NOW):
        assert possible(query, body)


def test_a_run_that_was_tagged_is_asked_for_only_where_its_tags_are() -> None:
    event = Event(3, NOW, "tagged", data={"tags": ["golden", "a"]})
    body = RunEvents("01JD9K4W2M8QZ5V7N3XBTRFHCA", "default", "t", [event], "q")
    for text in (
        "tag:golden",
        "tag:gold* status:failed",
        "!tag:canary",
        "golden",
        "tag:/^a$/ since:2h",
    ):
        assert possible(parse(text), body), text
    for text in ("tag:canary", "!tag:golden", "status:failed", "task:t", "tag:a task:other"):
        assert not possible(parse(text), body), text
