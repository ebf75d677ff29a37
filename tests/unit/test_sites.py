"""Sites without servers: rows of their messages, pages of two stores, the leaf's configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.ids import new_run_id
from headway.states import RunState
from headway.subjects import run_event
from headway.wire import encode
from headway.wire.events import Event
from headway.wire.runs import RunRow, RunsPage, RunsQuery
from headway_engine.changes.messages import Body, Change, Fields, Made, Record
from headway_engine.sites.copying import Copied, rows_of, runs_of
from headway_engine.sites.door import told
from headway_engine.sites.merging import meant, merged
from headway_engine.sites.records import Position

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NS = "default"


def first(run: str, seq: int, **made: Any) -> Copied:
    """The message that makes a run."""
    fields = Fields(task="t", queue="q", state=RunState.QUEUED, created_at=NOW, n=1)
    change = Change("e/1", NOW, fields, Made("hash", **made))
    event = Event(1, NOW, "queued", 0, "", "queued")
    return copied(run, seq, Body(run, change, NS, "t", [event]))


def copied(run: str, seq: int, body: Body) -> Copied:
    """As the hub has it."""
    return Copied(seq, run_event(NS, run), encode(body))


def test_messages_up_to_the_position_make_no_rows() -> None:
    run = new_run_id()
    rows = rows_of(Position("berlin", 7), {}, [first(run, 6), first(run, 7)])
    assert (rows.position, rows.records, rows.events) == (7, {}, [])
    rows = rows_of(Position("berlin", 5), {}, [first(run, 6)])
    assert rows.position == 6
    assert list(rows.records) == [run]
    assert [r for r, _ in rows.events] == [run]


def test_what_a_site_has_pruned_stays_at_the_hub() -> None:
    run = new_run_id()
    gone = copied(run, 2, Body(run, Change("e/2", NOW, removed=True), NS))
    rows = rows_of(Position("berlin"), {}, [first(run, 1), gone])
    assert rows.records[run].run is not None
    assert rows.position == 2
    assert rows.skipped == 0


def test_an_id_that_is_used_again_begins_anew() -> None:
    run = new_run_id()
    rows = rows_of(Position("berlin"), {}, [first(run, 1), first(run, 2, schema="s")])
    assert rows.anew == {run}
    assert [m.schema for _, m in rows.made] == ["s"]
    assert len(rows.events) == 1


def test_a_run_of_another_site_is_left_alone() -> None:
    run = new_run_id()
    known = {run: ("oslo", Record(run, NS))}
    rows = rows_of(Position("berlin"), known, [first(run, 1)])
    assert (rows.records, rows.skipped, rows.position) == ({}, 1, 1)
    assert "oslo" in rows.why


def test_what_cannot_be_followed_is_skipped_and_counted() -> None:
    run = new_run_id()
    change = Change("e/1", NOW, Fields(state=RunState.RUNNING))
    messages = [
        Copied(1, run_event(NS, run), b"no json"),
        copied(run, 2, Body(run, change, NS)),
        Copied(3, "hw.key.default.abc", b"{}"),
    ]
    rows = rows_of(Position("berlin"), {}, messages)
    assert (rows.skipped, rows.position, rows.records) == (2, 3, {})
    assert runs_of(messages) == [run]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (True, True)),
        ("status:failed", (True, True)),
        ("site:berlin", (False, True)),
        ("!site:berlin", (True, True)),
        ("!site:berlin,oslo", (True, False)),
        ("site:paris", (False, False)),
        ("site:b*", (False, True)),
    ],
)
def test_a_query_says_whose_runs_it_means(query: str, expected: tuple[bool, bool]) -> None:
    assert meant(RunsQuery(query=query), ("berlin", "oslo")) == expected


@given(
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 7),
    st.integers(1, 9),
    st.sampled_from(["newest", "oldest"]),
)
def test_pages_of_two_stores_lack_and_double_nothing(
    owners: list[bool], n: int, scan: int, sort: Any
) -> None:
    """Also where a store's pages are short and say that they go on."""
    runs = [(f"{i:026}", owner) for i, owner in enumerate(owners)]

    def page(mine: bool, query: RunsQuery) -> RunsPage:
        ids = sorted((r for r, owner in runs if owner is mine), reverse=sort == "newest")
        if query.after:
            ids = [r for r in ids if (r < query.after if sort == "newest" else r > query.after)]
        looked = ids[:scan]
        found = looked[: query.n]
        more = len(found) < len(ids)
        rows = [RunRow(r, "t", "failed", "q", NOW) for r in found]
        return RunsPage(rows, NOW, more, next=found[-1] if more else "")

    seen: list[str] = []
    query = RunsQuery(n=n, sort=sort)
    for _ in range(len(runs) + 2):
        answer = merged([page(mine=True, query=query), page(mine=False, query=query)], query)
        assert len(answer.runs) <= n
        seen += [r.run for r in answer.runs]
        if not answer.more:
            break
        query.after = answer.next
    assert seen == sorted((r for r, _ in runs), reverse=sort == "newest")


def test_the_age_of_what_is_known_is_said() -> None:
    now = NOW + timedelta(minutes=4)
    assert "known as it was 4m ago" in told(Position("berlin", as_of=NOW), now)
    assert "not here yet" in told(Position("berlin"), now)
    behind = Position("berlin", seq=10, head=1210, contact_at=NOW, as_of=NOW)
    assert "1,200 messages" in told(behind, now)
    assert "not followed: so" in told(Position("berlin", problem="so"), now)
