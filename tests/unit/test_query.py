"""The query language: read, written back, asked of one row; whatever is typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headway.query import FIELDS, BadQuery, Query, completions, parse, write
from headway.query.asked import query_of
from headway.query.evaluate import glob, matches, resolved
from headway.query.fields import Kind, reference
from headway.query.tokens import TERM_LIMIT, TEXT_LIMIT, VALUE_LIMIT
from headway.query.tree import Ago, Clock, Moment, Pattern, Term
from headway.wire import ErrorInfo
from headway.wire.runs import RunRow, RunsQuery
from support.queries import queries

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROW = RunRow(
    "01JD9K4W2MAAAAAAAAAAAAAAAA", "research-agent", "failed", "agents",
    NOW - timedelta(hours=1), version="r42", attempt=3, checkpoint_name="iteration-7",
    agent="edge-3", tags=("customer=acme", "eu"), started_at=NOW - timedelta(minutes=30),
    ended_at=NOW - timedelta(minutes=20), reason="error",
    error=ErrorInfo("HTTPStatusError", "429 Too Many\nRequests \x00"), key="order-17",
    failure="HTTPStatusError",
)  # fmt: skip


@given(queries())
def test_what_is_written_is_read_as_the_same_tree(query: Query) -> None:
    text = write(query)
    assert parse(text) == query
    assert write(parse(text)) == text


_BITS = ["status", "since", "id", "error", ":", ",", "!", '"', "\\", "*", "/", ">", "<", "=", " ",
         "failed", "2h", "10:00", "2026-01-31", "9" * 30,
         "\x00", "\ud800", "\u202e", "\xa0"]  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_BITS)).map("".join)))
@example("!" * TEXT_LIMIT)
@example("a," * (VALUE_LIMIT + 1))
@example("a " * (TERM_LIMIT + 1))
@example("since:9999-12-31T23:59:59.999999-23:59")
@example("until:0001-01-01T00:00:00+23:59")
@example("dur:" + "9" * 4000)
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    flaw: BadQuery | None = None
    query = Query()
    try:
        query = parse(text)
    except BadQuery as e:
        flaw = e
    if flaw is not None:
        assert 1 <= flaw.column <= len(text) + 1
        assert flaw.expected
    assert parse(write(query)) == query
    matches(query, ROW, NOW)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("status:faild", 8, "did you mean failed?"),
        ("task:x statsu:failed", 8, "did you mean status:?"),
        ("!nope:1", 2, "no field 'nope'"),
        ("status:failed,", 15, "a value of status: is missing"),
        ("since:1h,2h", 10, "several times"),
        ("since:yesterday", 7, "2h (ago)"),
        ("attempts:>x", 10, "a whole number"),
        ("dur:5", 5, ">5m"),
        ("id:01JD-9", 4, "a run id"),
        ('error:"429', 7, "the quote is not closed"),
        ('"a\\n"', 4, "a backslash"),
        ("a task:/re/", 3, "since:2h"),
        ("a /re/ !since:1h", 3, "window of time"),
        ("task:/re since:1h", 6, "closing /"),
        ("task:/usr/lib since:1h", 11, "goes in quotes"),
        ("since:1h task:/a**/", 18, "a * after"),
        (r"since:1h task:/(a)\1/", 19, "no meaning"),
        ("since:1h task://", 15, "empty expression"),
        ("status:/x/ since:1h", 8, "a state in lower case"),
        ("a !", 4, "nothing follows the !"),
        ("error:*", 7, "some letters"),
        ("x" * (TEXT_LIMIT + 1), TEXT_LIMIT + 1, "at most"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, column: int, says: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse(text)
    assert caught.value.column == column
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", True),
        ("status:failed,retrying", True),
        ("status:live", False),
        ("status:dead", True),
        ("!status:ended", False),
        ("STATUS:Failed", True),
        ("task:research-*", True),
        ("task:research", False),
        ('task:"research-*"', False),
        ("task:*age*t", True),
        ("tag:customer=acme tag:eu", True),
        ("!tag:canary", True),
        ("!tag:eu,us", False),
        ("error:429", True),
        ('error:"too many"', True),
        ("error:httpstatus*requests", True),
        ("attempts:>2 attempts:<=3 attempts:3,9", True),
        ("attempts:<3", False),
        ("dur:10m dur:>=10m", True),
        ("dur:>10m", False),
        ("since:2h", True),
        ("since:59m", False),
        ("since:1h until:59m", True),
        ("until:1h", False),
        ("since:11:00", True),
        ("until:13:00", False),  # not yet today, so yesterday's
        ("since:2026-11-22", True),
        ("since:2026-11-22T12:30+01:00", False),
        ("ckpt:iteration-* agent:edge-3 image:r42 version:r42 key:order-17", True),
        ("id:01jd9k", True),
        ("parent:01JD", False),
        ('!parent:0 agent:*3 queue:"agents"', True),
        ("ACME", True),
        ("acme nowhere", False),
        ("us,acme", True),
        ("task:/^research-(agent|web)$/ since:2h", True),
        ("task:/^agent/ since:2h", False),
        ("error:/HTTP.*4[0-9]{2}/ since:2h", True),
        ("error:/many$/ since:2h", False),
        ("!tag:/^us/ since:2h", True),
        (r"key:/order-\d+$/ /CUSTOMER=\w+/ since:2h", True),
        ("task:/AGENT/ since:2h", False),
        (r"!ckpt:/a\/b, c/,x since:2h", True),
    ],
)
def test_a_row_is_asked(text: str, *, found: bool) -> None:
    assert matches(parse(text), ROW, NOW) is found


def test_a_run_that_never_started_has_no_duration() -> None:
    row = RunRow("01JD9K4W2MAAAAAAAAAAAAAAAA", "t", "queued", "q", NOW)
    assert not matches(parse("dur:>=0s"), row, NOW)
    assert matches(parse("!dur:>=0s"), row, NOW)


def test_a_resolved_query_means_the_same_runs_later() -> None:
    later = NOW + timedelta(days=1)
    for text in ("since:2h", "since:11:00", "until:30m"):
        query = parse(text)
        assert matches(query, ROW, NOW)
        assert matches(resolved(query, NOW), ROW, later)
    assert parse("since:2h").terms[0].values == (Ago(7_200_000),)
    assert parse("since:10:00").terms[0].values == (Clock(time(10)),)
    assert parse("since:2026-01-01T00:00Z").terms[0].values == (
        Moment(datetime(2026, 1, 1, tzinfo=UTC)),
    )


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=4))
def test_a_glob_is_what_the_parts_say(text: str, middle: list[str]) -> None:

    parts = ("", *middle, "")
    assert glob(parts, text) is (
        re.fullmatch(".*" + "".join(f"{p}.*" for p in middle), text) is not None
    )


def test_filters_of_a_request_and_its_text_hold_together() -> None:
    asked = RunsQuery(
        ("live",), "a*b", "q", ("x*",), ("01JD",), since=NOW, text="w", query="status:failed"
    )
    assert write(query_of(asked)) == (
        'status:live task:a*b queue:q tag:"x*" id:01JD since:2026-11-22T12:00:00Z w status:failed'
    )
    with pytest.raises(BadQuery, match="column 1"):
        query_of(RunsQuery(query="nope:1"))


def test_words_are_completed() -> None:
    assert completions("ta") == ["tag:", "task:"]
    assert completions("task:x !st") == ["task:x !status:"]
    assert completions("status:live,re") == ["status:live,retrying", "status:live,review"]
    assert completions("queue:a") == []


def test_every_field_is_documented_and_its_example_is_read() -> None:
    for field in FIELDS:
        (term,) = parse(field.example).terms
        assert term.field == field.name
        assert f"`{field.example}`" in reference()
    assert {f.kind for f in FIELDS} == set(Kind)


def test_positions_do_not_make_trees_different() -> None:
    assert Term("", (Pattern(("a",)),), column=1) == Term("", (Pattern(("a",)),), column=9)
    assert [t.column for t in parse("a  b:".replace("b:", "task:b")).terms] == [1, 4]


def test_the_manual_has_the_table_of_fields() -> None:
    manual = (Path(__file__).parents[2] / "ops" / "README.md").read_text("utf-8")
    assert f"reference()` -->\n{reference()}\n<!-- /fields -->" in manual, (
        "write the output of headway.query.fields.reference() into ops/README.md"
    )
