from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from headway.looks import LOOKS, MARKS
from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.events import KINDS, Event, gist
from headway.wire.fleet import AgentRow, QueueRow
from headway.wire.runs import CheckpointRow, MarkRow, RunDetail, RunRow
from headway_ops import render, story

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = "01JD9K4W2M8QZ5V7N3XBTRFHCA"
HOSTILE = "a\x1b[2J\x9b31m\u202eb"


def printed(*parts: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    for part in parts:
        console.print(part)
    return out.getvalue()


def a_row(**more: object) -> RunRow:
    fields: dict[str, object] = {
        "run": RUN, "task": "research", "status": "running", "queue": "default",
        "created_at": NOW - timedelta(minutes=3), "attempt": 1, "max_attempts": 3,
        "checkpoint": 4, "checkpoint_name": "turn-3", **more,
    }  # fmt: skip
    return RunRow(**fields)  # pyright: ignore[reportArgumentType] fields of a Struct by name


def test_every_status_has_its_own_glyph_and_word_one_cell_wide() -> None:
    statuses = [s.status for s in RunState]
    assert set(LOOKS) == set(statuses)
    for part in ("glyph", "ascii", "word"):
        shown = [getattr(LOOKS[s], part) for s in statuses]
        assert len(set(shown)) == len(shown)
    assert all(cell_len(k.glyph) == cell_len(k.ascii) == 1 for k in LOOKS.values())
    assert all(cell_len(sign) == 1 for pair in MARKS.values() for sign in pair)
    assert all(pair[1].isascii() for pair in MARKS.values())


def test_without_unicode_only_ascii_is_used() -> None:
    assert all(render.status_text(s.status, glyphs=False).plain.isascii() for s in RunState)


def test_the_list_fits_eighty_columns_and_keeps_the_id_whole() -> None:
    rows = [a_row(task="t" * 64, checkpoint_name="n" * 60, status=s.status) for s in RunState]
    text = printed(render.runs_table(rows, NOW))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count(RUN) == len(rows)


def test_what_outsiders_wrote_cannot_reach_the_terminal() -> None:
    row = a_row(task=HOSTILE, checkpoint_name=HOSTILE, tags=(HOSTILE,), agent=HOSTILE,
                version=HOSTILE, queue=HOSTILE, key=HOSTILE, status=HOSTILE,
                error=ErrorInfo(HOSTILE, HOSTILE, HOSTILE))  # fmt: skip
    keys = (
        "key", "name", "why", "agent", "fn", "due_at", "status", "reason", "token", "error",
        "cause", "decision", "container", HOSTILE,
    )  # fmt: skip
    data: dict[str, Any] = {key: HOSTILE for key in keys}  # noqa: C420
    events = [Event(1, NOW, kind, data=data, actor=f"user:{HOSTILE}") for kind in (*KINDS, HOSTILE)]
    detail = RunDetail(
        row, why=HOSTILE, events=events,
        checkpoints=[CheckpointRow(1, HOSTILE, 1, NOW, 1)],
        marks=[MarkRow(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, NOW)],
    )  # fmt: skip
    queue = QueueRow(HOSTILE, paused=True)
    agent = AgentRow(HOSTILE, HOSTILE, True, 1, NOW, HOSTILE, (HOSTILE,))
    text = printed(
        render.runs_table([row], NOW), story.story(detail, NOW),
        render.queues_table([queue], NOW), render.agents_table([agent]),
        width=400,
    )  # fmt: skip
    assert not {"\x1b", "\x9b", "\u202e"} & set(text)
    assert "\\x1b" in text


def test_a_gap_in_the_timeline_is_said() -> None:
    events = [Event(n, NOW + timedelta(seconds=n), "checkpoint", data={"number": n, "name": "a"})
              for n in (1, 2, 6)]  # fmt: skip
    lines = [t.plain for t in story.timeline(events)]
    assert "... missing: 3 to 5" in lines
    assert len(lines) == 4


def test_a_long_story_is_shortened_and_says_so() -> None:
    events = [Event(n, NOW + timedelta(seconds=n), "checkpoint", data={"number": n, "name": "a"})
              for n in range(1, 1001)]  # fmt: skip
    kept = [CheckpointRow(n, f"turn-{n}", 1, NOW, 1) for n in range(1, 101)]
    events[499].kind = "lost"
    # As the engine answers: the middle is left out already.
    detail = RunDetail(a_row(), events=gist(events, 500), checkpoints=kept)
    text = printed(story.story(detail, NOW))
    shown = [n for n in range(1, 1001) if f"#{n} a" in text]
    assert shown == [1, 2, 3, 497, 498, 499, 501, 502, 503, 998, 999, 1000]
    assert text.count("left out: headway show") == 3
    assert "... 493 events left out" in text
    assert "lost" in text
    assert "+999.00s" in text
    assert "... 50 checkpoints left out" in text
    assert "turn-50 " not in text
    assert "turn-51 " in text
    detail.events = events
    text = printed(story.story(detail, NOW, whole=True))
    assert "left out" not in text
    assert "missing" not in text
    assert all(f"turn-{n} " in text for n in range(1, 101))


@given(st.lists(st.sampled_from(["checkpoint", "step", "lost", "started"]), max_size=80))
def test_the_gist_of_a_story_keeps_both_ends_and_the_order(kinds: list[str]) -> None:
    events = [Event(n, NOW, kind) for n, kind in enumerate(kinds, 1)]
    for room in (2, 20, 80):
        told = gist(events, room)
        numbers = [e.n for e in told]
        assert len(told) <= room
        assert numbers == sorted(set(numbers))
        assert numbers[:1] + numbers[-1:] == [1, len(kinds)][: 2 * bool(kinds)]


def test_the_story_tells_attempts_checkpoints_and_retries() -> None:
    at = (NOW - timedelta(seconds=60 - n) for n in range(60))
    told: list[tuple[str, dict[str, Any], int]] = [
        ("queued", {}, 0),
        ("starting", {"agent": "box"}, 1),
        ("started", {"container": "hw-1"}, 1),
        ("checkpoint", {"number": 1, "name": "turn-1", "size": 1200}, 1),
        ("retrying", {"error": {"type": "ValueError", "message": "no"}, "attempt": 1,
                      "max_attempts": 3, "due_at": NOW.isoformat()}, 1),
        ("started", {"resumed_from": 1}, 2),
        ("once", {"key": "mail", "status": "started", "fn": "send"}, 2),
        ("once", {"key": "mail", "status": "done", "fn": "send", "seconds": 0.002}, 2),
        ("succeeded", {"size": 12}, 2),
    ]  # fmt: skip
    events = [
        Event(n, next(at), kind, epoch, data=data)
        for n, (kind, data, epoch) in enumerate(told, start=1)
    ]
    detail = RunDetail(a_row(status="succeeded", ended_at=NOW), events=events, why="it has ended")
    text = printed(story.story(detail, NOW), width=100)
    for word in ("why: it has ended", "#1 turn-1, 1.2 KiB", "attempt 1 of 3 failed",
                 "ValueError: no", "from checkpoint #1", "mail started: send()",
                 "mail done: send() took 2.0ms", "from the start, in hw-1"):  # fmt: skip
        assert word in text


@pytest.mark.parametrize(
    ("kind", "data", "epoch", "words"),
    [
        ("once", {"key": "send", "status": "started", "fn": "send"}, 1, "send started"),
        ("once", {"key": "send-it", "status": "done", "fn": "send_it", "seconds": 1.5}, 1,
         "send-it done, took 1.5s"),
        ("step", {"key": "plan-0", "fn": "plan", "seconds": 3.0}, 1, "plan-0: plan() took 3.0s"),
        ("step", {"key": "@0.1", "fn": "b-leaf", "verb": "enqueue", "status": "done",
                  "child": "01KDA7Q2"}, 1, "@0.1: b-leaf is run 01KDA7Q2"),
        ("starting", {"agent": "box", "attempt": 1}, 1, "attempt 1 on box"),
        ("starting", {"agent": "box", "attempt": 1}, 3, "attempt 1 on box, epoch 3"),
        ("started", {"container": "c1", "host": "h1", "resumed_from": 6}, 1,
         "from checkpoint #6, in c1 on h1"),
        ("review", {"reason": "once", "key": "mail", "token": "t"}, 2, "once mail, token t"),
        ("cancelled", {"confirmed_dead": False}, 2, "its code may still run"),
        ("succeeded", {"size": 12, "lines": 90, "lines_lost": 1200, "spans_lost": 1}, 1,
         "result 12 B, 1,200 lines and 1 span dropped (log_rate)"),
        ("failed", {"cause": "oom", "lines_lost": 1}, 1,
         "oom, 1 line dropped (log_rate)"),
    ],
)  # fmt: skip
def test_lines_of_the_timeline_read_well(
    kind: str, data: dict[str, Any], epoch: int, words: str
) -> None:
    assert story.event_words(kind, data, epoch) == words


def test_a_usual_line_of_the_timeline_fits_eighty_columns() -> None:
    data = {"container": "9fc3becb6c09", "host": "vm", "resumed_from": 12}
    line = story.event_text(Event(3, NOW, "started", 1, data=data), NOW - timedelta(minutes=3))
    assert line.cell_len <= 80
    assert story.event_text(Event(1, NOW, "queued")).plain.endswith("queued")
    assert story.event_text(Event(1, NOW, "queued"), signs=False).plain[12:] == "  queued"


def test_the_facts_of_a_run_break_between_facts() -> None:
    row = a_row(epoch=3, version="dev-36b038b6d713", agent="local-49946e", tags=("nightly", "big"),
                origin=RUN)  # fmt: skip
    lines = printed(story.story(RunDetail(row), NOW)).splitlines()
    facts = ["queue default", "attempt 1 of 3", "epoch 3", "version dev-36b038b6d713",
             "agent local-49946e", "tags nightly, big", f"origin {RUN}"]  # fmt: skip
    assert all(any(fact in line for line in lines) for fact in facts)
    assert lines == [line.rstrip() for line in lines]


def test_a_run_that_waits_for_a_person_says_what_to_type() -> None:
    hint = story.review_hint(RUN, {"reason": "once", "key": "a b"})
    assert f"headway resume {RUN} --once 'a b'=done" in hint
    assert f"headway show {RUN}" in story.review_hint(RUN, {"reason": "lost"})


def test_no_line_of_a_story_is_wider_than_the_terminal() -> None:
    detail = RunDetail(a_row(), events=[Event(1, NOW, "warning", data={"why": "w" * 300})],
                       why="y" * 300)  # fmt: skip
    assert max(map(len, printed(story.story(detail, NOW)).splitlines())) <= 80
