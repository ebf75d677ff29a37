"""Dead letters and reviews on the console: pictures, keys, sheets, and the pure model below."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.replays.plans import read
from headway.wire.api import Done
from headway.wire.events import Event, RunEvents
from headway.wire.replays import JobRow, PlanStart
from headway.wire.steering import BulkAsk, BulkPage, DeadPage, ResumeAsk
from headway_tui.model.dead import DeadView, flaw_of_json, query_of, resume_words
from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, RUN, StillLink, show
from support.deadconsole import TOKEN, classes, dead_console, reviews
from support.goldens import SIZES, agreed
from support.screens import text_of

if TYPE_CHECKING:
    from msgspec import Struct

ONE = RUN[:24] + "10"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Struct]]:
    """What the console asks for; the engine says yes."""
    sent: list[tuple[str, Struct]] = []

    async def ask(self: StillLink, verb: str, body: Struct, kind: Any) -> Any:
        answers = {
            "resume": Done(ONE, "ok", "queued"),
            "bulk": BulkPage(NOW, [new_run_id() for _ in range(97)]),
            "plan-start": JobRow("rj_1", "00", "done", 97, NOW, succeeded=97),
        }
        if verb not in answers:  # what other screens read
            raise HeadwayError("nobody is there")
        sent.append((verb, body))
        return answers[verb]

    monkeypatch.setattr(StillLink, "ask", ask)
    return sent


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_screen_looks_as_agreed(size: tuple[int, int]) -> None:
    async with dead_console(size) as (app, pilot, _):
        agreed("dead", size, app)
        await pilot.press("x")
        await pilot.pause()
        agreed("dead-sheet", size, app)
        await pilot.press("escape", "tab")
        await pilot.pause()
        await show(app, pilot)
        agreed("reviews", size, app)
        await pilot.press("m")
        await pilot.pause()
        agreed("review-sheet", size, app)


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (200, 50)], ids=str)
async def test_any_terminal_will_do(size: tuple[int, int]) -> None:
    async with dead_console(size) as (app, pilot, _):
        text_of(app)
        await pilot.press("tab")
        await show(app, pilot)
        text_of(app)


async def test_ascii_means_ascii() -> None:
    boxes = str.maketrans(dict.fromkeys("╭╮╰╯─│▁▂▃▄▅▆▇", " "))
    async with dead_console(ascii_only=True) as (app, _pilot, _):
        assert text_of(app).translate(boxes).isascii()


async def test_a_class_is_acknowledged_after_its_number_was_typed(
    asked: list[tuple[str, Struct]],
) -> None:
    async with dead_console() as (app, pilot, screen):
        await pilot.press("x", "9", "6", "enter")
        await pilot.pause()
        assert "type 97, or esc" in text_of(app)
        await pilot.press("9", "7", "enter")
        await pilot.pause()
        await show(app, pilot)
        assert "97 runs acknowledged: RateLimitError" in text_of(app)
        assert isinstance(app.screen, DeadScreen)
        assert screen.letter() is not None
    (_, counted), (_, begun) = asked
    assert isinstance(counted, BulkAsk)
    assert (counted.verb, counted.query) == ("ack", "failure:RateLimitError task:research-agent")
    assert isinstance(begun, PlanStart)
    plan = read(bytes(begun.plan))
    assert (plan.mode, len(plan.items), plan.planned_at) == ("ack", 97, NOW)


async def test_a_lone_key_and_an_escape_change_nothing(asked: list[tuple[str, Struct]]) -> None:
    async with dead_console() as (app, pilot, _):
        for key in ("R", "r", "x"):
            await pilot.press(key, "escape")
        await pilot.press("tab")
        for key in ("m", "r", "X", "o", "c"):
            await pilot.press(key, "escape")
        await pilot.pause()
        assert isinstance(app.screen, DeadScreen)
    assert asked == []


async def test_a_review_is_marked_done_with_a_value_that_is_json(
    asked: list[tuple[str, Struct]],
) -> None:
    async with dead_console() as (app, pilot, _):
        await pilot.press("tab", "j", "m", *"sent", "enter")
        await pilot.pause()
        assert "no JSON" in text_of(app)
        assert asked == []
        await pilot.press(*'"sent"', "enter")
        await pilot.pause()
    ((verb, body),) = asked
    assert isinstance(body, ResumeAsk)
    assert (verb, body.run, body.once) == ("resume", RUN[:24] + "11", {"pay": "done"})
    assert bytes(body.values["pay"]) == b'"sent"'
    assert (body.override, len(body.request)) == (False, 26)


async def test_an_older_attempt_that_may_run_is_overridden_by_a_typed_word_only(
    asked: list[tuple[str, Struct]],
) -> None:
    async with dead_console() as (app, pilot, screen):
        await pilot.press("tab", "r")
        await pilot.pause()
        assert "Attempt #1 is not confirmed dead" in text_of(app)
        await pilot.press("escape", "o", "enter")
        await pilot.pause()
        assert screen.overrides == set()
        await pilot.press(*"override", "enter")
        await pilot.pause()
        assert screen.overrides == {ONE}
        assert asked == []
        await pilot.press("r")
        await pilot.pause()
        assert "overridden by you" in text_of(app)
        await pilot.press("enter")
        await pilot.pause()
    ((_, body),) = asked
    assert isinstance(body, ResumeAsk)
    assert (body.once, body.override) == ({"send-email": "rerun"}, True)


async def test_a_token_is_copied_and_a_class_opened_as_a_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with dead_console() as (app, pilot, _):
        copied: list[str] = []
        monkeypatch.setattr(app, "copy_text", copied.append)
        await pilot.press("tab", "y", "t", "tab", "y", "c", "enter")
        await pilot.pause()
        assert copied[0] == TOKEN
        assert copied[1].startswith("headway ls 'status:dead failure:RateLimitError")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        assert screen.filter_text == "status:dead failure:RateLimitError task:research-agent"


async def test_hostile_text_reaches_no_terminal() -> None:
    async with dead_console() as (app, pilot, _):
        await pilot.press("G", "x")
        await pilot.pause()
        assert "\x1b" not in text_of(app)
        assert "\\x1b[2Jtopic" in text_of(app)


# --- the model


def heard(run: str, kind: str, n: int, target: str = "") -> RunEvents:
    return RunEvents(run, "default", "t", [Event(n, NOW, kind, target=target)])


def test_events_say_what_is_to_be_asked_for() -> None:
    view = DeadView()
    view.stale = False
    assert not view.hear(heard("a", "started", 3, "RUNNING"))
    assert view.hear(heard("a", "failed", 4, "FAILED"))
    assert (view.stale, view.wanted) == (True, set())
    view.stale = False
    assert view.hear(heard("a", "acknowledged", 5))
    assert view.stale
    view.stale = False
    assert view.hear(heard("b", "review", 6, "REVIEW"))
    assert (view.stale, view.wanted) == (False, {"b"})


def test_reviews_come_and_go_whatever_the_order_of_answers() -> None:
    view = DeadView()
    first, second, third = reviews()
    view.take_reviews([third, second], whole=True)
    assert view.order == [second.run, third.run]
    view.take_reviews([first], whole=False)
    assert view.order == [first.run, second.run, third.run]
    assert view.hear(heard(first.run, "exited", 10))
    assert view.wanted == {first.run}
    assert first.review is not None
    newer = replace(first, n=10, review=replace(first.review, unconfirmed=()))
    view.take_reviews([newer], whole=False)
    view.take_reviews([first], whole=False)  # it left before the event
    assert view.reviews[first.run] is newer
    view.take_reviews([replace(newer, n=11, status="queued")], whole=False)
    view.gone([third.run])
    assert view.order == [second.run]


def test_lines_for_a_shell_say_the_same() -> None:
    one, _, several = classes()
    assert query_of(one) == "status:dead failure:RateLimitError task:research-agent"
    assert query_of(several) == "status:dead failure:KeyError"
    odd = replace(one, failure='a "b" \\')
    assert query_of(odd, dead=False) == r'failure:"a \"b\" \\" task:research-agent'
    assert resume_words("R", {"k": "done"}, {"k": "1"}, override=True) == [
        "headway", "resume", "R", "--once", "k=done", "--value", "k=1", "--override",
    ]  # fmt: skip
    assert flaw_of_json('{"a": [1]}') == ""
    assert "no JSON" in flaw_of_json("")


def test_an_empty_page_has_no_rows() -> None:
    view = DeadView()
    assert (view.letter_at(0), view.review_at(0)) == (None, None)
    view.take_classes(DeadPage([], NOW - timedelta(1)))
    assert view.classes == []
