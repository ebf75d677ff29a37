"""A fork from the console: the editor, what does not fit, the sheet, and the same from a shell."""

from __future__ import annotations

import asyncio
import stat
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway.errors import HeadwayError, NotAllowed, NotReachable, Refused
from headway.wire.api import Done
from headway.wire.replays import ForkAsk, Forked
from headway.wire.runs import CheckpointRow, StateAnswer
from headway.wire.steering import ResumeAsk
from headway_tui import sending
from headway_tui.model.forks import Draft, fork_sheet, parsed, pretty, set_words
from headway_tui.sending import kindly, send
from support.consoles import RUN, T0, StillLink, console, open_run, show
from support.goldens import SIZES, agreed
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msgspec import Struct

STATE = b'{"model": "sonnet", "turns": [1, 2], "note": null}'


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An $EDITOR that replaces texts, one pair each time that it is opened."""
    script, turn = tmp_path / "editor", tmp_path / "turn"
    script.touch()
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)

    def uses(*pairs: tuple[str, str]) -> None:
        turn.write_text("0")
        script.write_text(
            "#!/usr/bin/env python3\nimport sys, pathlib\n"
            f"t = pathlib.Path({str(turn)!r}); n = int(t.read_text()); t.write_text(str(n + 1))\n"
            f"a, b = {pairs!r}[n]\nf = pathlib.Path(sys.argv[1]); s = f.read_text()\n"
            "assert a in s, s\nf.write_text(s.replace(a, b))\n"
        )

    return uses


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ForkAsk]:
    """Forks that were asked for; a model that is no text is refused as the engine does."""
    sent: list[ForkAsk] = []

    async def ask(self: StillLink, verb: str, body: Struct, kind: Any) -> Any:
        if verb == "state":
            return StateAnswer(CheckpointRow(7, "iteration-6", len(STATE), T0, 3), Raw(STATE))
        if not isinstance(body, ForkAsk):  # what the list reads
            raise HeadwayError("nobody is there")
        sent.append(ForkAsk(**{f: getattr(body, f) for f in body.__struct_fields__}))
        if body.state is not None and b'"model":7' in bytes(body.state.patch):
            raise Refused("state.model: expected string, got integer", "bad_state")
        outcome = "planned" if body.dry_run else "ok"
        return Forked(body.new_run, outcome, "queued", 7, "iteration-6", ("send-email",),
                      checked="ok" if body.state is not None else "")  # fmt: skip

    monkeypatch.setattr(StillLink, "ask", ask)
    return sent


async def shown(app: Any, pilot: Any, text: str) -> None:
    async def there() -> bool:
        await pilot.pause()
        await show(app, pilot)
        return text in text_of(app)

    await until(there, what=text)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_state_is_edited_refused_by_its_path_edited_again_and_forked(
    size: tuple[int, int], asked: list[ForkAsk], editor: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    editor(('"sonnet"', "7"), ("7", '"haiku",'), ('"haiku",', '"haiku"'))
    monkeypatch.setattr("headway_tui.forking.new_run_id", lambda: RUN[:-1] + "Z")
    async with console(size) as (app, pilot):
        monkeypatch.setattr(app, "suspend", nullcontext)
        await pilot.press("j", "e")
        await shown(app, pilot, "state.model: expected string, got integer")
        await pilot.press("enter")
        await shown(app, pilot, "no JSON")
        await pilot.press("enter")
        await shown(app, pilot, "It fits the task's state type.")
        agreed("fork-sheet", size, app)
        assert [a.dry_run for a in asked] == [True, True]
        await pilot.press("enter")
        await shown(app, pilot, "forked: ")
    last = asked[-1]
    assert (last.run, last.start, last.dry_run) == (RUN, "#7", False)
    assert last.state is not None
    assert bytes(last.state.patch) == b'{"model":"haiku"}'
    assert len({a.new_run for a in asked}) == 1


async def test_a_resume_of_what_has_ended_is_a_fork_and_escape_makes_none(
    asked: list[ForkAsk],
) -> None:
    async with console() as (app, pilot):
        await pilot.press("j", "R")
        await shown(app, pilot, "Nothing edited; e edits the state.")
        assert f"$ headway fork {RUN} --from '#7'" in text_of(app)
        await pilot.press("escape")
        await shown(app, pilot, "left as it is")
    assert [a.dry_run for a in asked] == [True]


async def test_in_a_run_the_checkpoint_under_the_cursor_is_meant(
    asked: list[ForkAsk], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def state_ask(run: str, number: int) -> None:
        numbers.append(number)

    monkeypatch.setattr("headway_tui.forking.StateAsk", state_ask)
    async with console() as (app, pilot):
        await open_run(app, pilot)
        await pilot.press("left_square_bracket")
        await pilot.pause(0.1)
        await pilot.press("F")
        await shown(app, pilot, "Nothing edited")
    assert numbers == [1]


async def test_an_editor_that_fails_forks_nothing(
    asked: list[ForkAsk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    async with console() as (app, pilot):
        await pilot.press("j", "e")
        await shown(app, pilot, "cannot be lent to an editor")
        monkeypatch.setattr(app, "suspend", nullcontext)
        for command, said in (("false", "false ended with 1"), ("/nowhere/vi", "cannot be run")):
            monkeypatch.setenv("EDITOR", command)
            await pilot.press("e")
            await shown(app, pilot, said)
    assert asked == []


# --- sending


class Flaky(StillLink):
    """Answers what it was told to answer, in turn."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(None)  # pyright: ignore[reportArgumentType]  # nothing connects
        self.connected = True
        self.turns = list(answers)
        self.sent: list[Any] = []

    async def ask(self, verb: str, body: Any, kind: Any) -> Any:
        """The next answer."""
        self.sent.append(body)
        answer = self.turns.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_what_was_sent_and_not_answered_is_asked_for_again_with_the_same_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "AGAIN", 0.0)
    link = Flaky(NotReachable("no answer in 5 s"), Done("r", "ok"))
    told: list[str] = []
    body = ResumeAsk(RUN, request="one")

    def back() -> None:
        link.connected = True
        link.changed.set()

    def lost(text: str) -> None:
        told.append(text)
        link.connected = False
        asyncio.get_running_loop().call_later(0.05, back)

    done = await send(link, "resume", body, Done, lost)
    assert done.outcome == "ok"
    assert link.sent == [body, body]
    assert told == ["resume: sent, not confirmed: it is asked for again (no answer in 5 s)"]


async def test_a_refusal_is_final_and_what_was_never_sent_is_not_repeated() -> None:
    for error in (Refused("no", "refused"), HeadwayError("there is no connection")):
        link = Flaky(error)
        with pytest.raises(type(error)):
            await send(link, "ack", ResumeAsk(RUN), Done, lambda _: None)
        assert len(link.sent) == 1


def test_a_missing_right_is_said_kindly() -> None:
    said = kindly(NotAllowed("hw.api.default.ana.ack", "user ana"))
    assert said == "your NATS user may not ack: it takes an operator's credentials"
    assert kindly(HeadwayError("as it is")) == "as it is"


# --- pure


def test_edits_are_said_as_settings_where_settings_can_say_them() -> None:
    old = {"model": "sonnet", "budget": {"usd": 1, "spent": 2}, "turns": [1]}
    new = {"model": "haiku", "budget": {"usd": 1, "spent": 0}, "more": True}
    assert set_words("state", old, new) == [
        "--set", "state.turns=null", "--set", 'state.model="haiku"',
        "--set", "state.budget.spent=0", "--set", "state.more=true",
    ]  # fmt: skip
    assert set_words("state", old, {**old, "model": None}) is None
    assert set_words("state", old, {**old, "a.b": 1}) is None
    assert set_words("state", [1], [2]) is None


def test_the_sheet_says_what_a_fork_keeps_and_what_nobody_checked() -> None:
    draft = Draft(RUN, RUN, "state", "#7", "x\x1b[2J", {"a": list(range(40))})
    planned = Forked(RUN, "planned", kept=("mail",), cleared=("pay",), checked="unlike")
    sheet = fork_sheet(draft, {"a": [0]}, planned, "default at nats://x")
    text = "\n".join(line for line, _ in sheet.lines)
    assert "\x1b" not in text
    assert "… and " in text
    assert "Not checked: it was saved as another type" in text
    assert "once, stays done: mail" in text
    assert "once, may happen again: pay" in text
    assert sheet.cli == f"headway fork {RUN} --from '#7' --set 'state.a=[0]'"


def test_what_is_no_json_is_said_with_its_place() -> None:
    assert parsed('{"a": 1,}')[1].startswith("line 1, column 9: no JSON")
    assert parsed("[" * 100_000)[1].startswith("no JSON")
    assert parsed(pretty({"a": "\u202e"})) == ({"a": "\u202e"}, "")


@pytest.mark.usefixtures("asked")
async def test_a_run_that_was_forked_is_read_anew_and_one_that_was_left_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    async with console() as (app, pilot):
        run = await open_run(app, pilot)
        monkeypatch.setattr(run, "reread", lambda: read.append(run.run_id))
        await pilot.press("F")
        await shown(app, pilot, "Nothing edited")
        await pilot.press("escape")
        await shown(app, pilot, "left as it is")
        assert read == []
        await pilot.press("F")
        await shown(app, pilot, "Nothing edited")
        await pilot.press("enter")
        await shown(app, pilot, "forked: ")
        await until(lambda: read == [RUN], what="its forks are counted again")
