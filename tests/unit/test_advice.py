"""Advice: what is said of a task's checkpoints, and that it is said of what was measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headway.advice import REDONE, Story, advise, facts
from headway.wire.events import Event, Span
from headway.wire.runs import CheckpointRow

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def story(*steps: tuple[float, str, dict[str, Any]], sizes: tuple[int, ...] = ()) -> Story:
    """A run of (seconds, kind, data) and the sizes of its checkpoints."""
    events: list[Event] = []
    epoch = 0
    for n, (at, kind, data) in enumerate(steps, 1):
        epoch += kind == "started"
        target = {"succeeded": "SUCCEEDED", "lost": "QUEUED", "retrying": "RETRYING"}.get(kind, "")
        events.append(Event(n, T0 + timedelta(seconds=at), kind, epoch, target=target, data=data))
    rows = [CheckpointRow(n, f"c{n}", s, T0, 1) for n, s in enumerate(sizes, 1)]
    return Story("R1", events, rows)


def span_of(name: str, start: float, end: float, scope: str = "headway") -> Span:
    ns = int(T0.timestamp() * 1e9)
    return Span("a" * 32, "b" * 16, name, ns + int(start * 1e9), ns + int(end * 1e9), scope=scope)


CRASHED = story(
    (0, "started", {}),
    (5, "checkpoint", {"number": 1, "name": "found"}),
    (485, "lost", {"why": "agent lost"}),
    (500, "started", {"resumed_from": 1}),
    (990, "step", {"key": "browse"}),
    (991, "succeeded", {}),
    sizes=(100,),
)


def said(*stories: Story, **more: Any) -> dict[str, str]:
    return {h.kind: h.words for h in advise("t", stories, **more).hints}


def test_work_that_was_redone_is_told_with_where_a_checkpoint_belongs() -> None:
    told = advise("t", [CRASHED])
    assert [(c.redone, c.why, c.saved, c.before) for c in told.crashes] == [
        (480.0, "agent lost", True, "browse")
    ]
    (hint,) = told.hints
    assert hint.words == "8m00s were redone after 1 crash: add a checkpoint before `browse`"
    assert hint.run == "R1"


def test_what_spans_say_was_at_work_comes_before_what_was_saved_next() -> None:
    spans = [
        span_of("attempt 1", 0, 1), span_of("checkpoint", 4.9, 5),
        span_of("GET /a", 10, 12, "httpx"), span_of("step('read_all')", 300, 480),
    ]  # fmt: skip
    told = advise("t", [Story("R1", CRASHED.events, CRASHED.checkpoints, spans)])
    assert told.crashes[0].before == "read_all"


def test_a_crash_without_any_save_says_that_it_began_anew() -> None:
    run = story((0, "started", {}), (60, "retrying", {"error": {"type": "Boom"}}),
                (70, "started", {}), (80, "succeeded", {}))  # fmt: skip
    words = said(run)["redone"]
    assert words.startswith("60.0s were redone after 1 crash: nothing was saved before") or (
        words.startswith("1m00s were redone after 1 crash: nothing was saved before")
    )
    assert "add a checkpoint" in words


def test_an_end_that_nobody_followed_and_a_wait_are_no_crashes() -> None:
    waits = story((0, "started", {}), (60, "waiting", {}), (70, "started", {"resumed_from": 1}),
                  (80, "succeeded", {}))  # fmt: skip
    failed = story((0, "started", {}), (60, "failed", {"error": {"type": "Boom"}}))
    assert advise("t", [waits, failed]).crashes == []


def test_growth_is_told_by_the_run_that_grew_most() -> None:
    sizes = tuple(2048 * n for n in range(1, 41))
    words = said(story(sizes=sizes), story(sizes=(10, 20, 30)))["growth"]
    assert "from 2.0 KiB (number 1) to 80.0 KiB (number 40), about 2.0 KiB each time" in words
    assert "growth" not in said(story(sizes=(10, 100, 1000))), "so small it does not matter"


def test_large_states_are_told() -> None:
    assert "blob store" in said(story(sizes=(200_000, 210_000, 205_000)))["size"]


def test_saving_that_takes_its_share_of_the_time_is_told_from_spans_alone() -> None:
    run = story((0, "started", {}), (10, "checkpoint", {}), (20, "succeeded", {}), sizes=(10,))
    spans = [span_of("checkpoint", 2 * i, 2 * i + 0.5) for i in range(10)]
    told = advise("t", [Story("R1", run.events, run.checkpoints, spans)])
    assert told.write_of == "task"
    assert round(told.write_share, 2) == 0.25
    assert told.hints[0].words.startswith("saving takes 25% of the time")
    other = advise("t", [run], 0.003)
    assert (other.write_p95, other.write_of, other.hints[0].kind) == (0.003, "engines", "none")
    assert "of all tasks: this one tells no spans" in dict(facts(other))["write time"]


def test_nothing_to_say_is_said_too() -> None:
    assert said()["none"].startswith("no run of t is known yet")
    assert (
        "a crash would begin anew" in said(story((0, "started", {}), (1, "succeeded", {})))["none"]
    )
    assert said(story(sizes=(10, 11, 12)))["none"].startswith("nothing to change: no crash")


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5),
            st.sampled_from(["started", "checkpoint", "step", "lost", "retrying", "succeeded",
                             "waiting", "starting", "queued", "cancelled", "later-kind"]),
            st.fixed_dictionaries({}, optional={"why": st.text(), "error": st.none() | st.text()}),
        ),
        max_size=30,
    ),
    st.lists(st.integers(0, 10**8), max_size=6),
)  # fmt: skip
def test_whatever_happened_there_is_a_word_and_no_negative_loss(
    steps: list[tuple[float, str, dict[str, Any]]], sizes: list[int]
) -> None:
    told = advise("t", [story(*sorted(steps, key=lambda s: s[0]), sizes=tuple(sizes))])
    assert told.hints
    assert all(c.redone >= 0 for c in told.crashes)
    assert ("redone" in {h.kind for h in told.hints}) == (told.redone >= REDONE)
    assert facts(told)
