from __future__ import annotations

import json

import msgspec
import pytest

from headway.errors import BadPayload, HeadwayError, NoSuchRun, NotReachable, Refused, RunFailed
from headway.wire.enqueue import Recorded
from headway_ops import say
from headway_ops.say import Exit, Fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotReachable(), Exit.NO_LINK),
        (BadPayload("x"), Exit.USAGE),
        (NoSuchRun("gone", "not_found"), Exit.REFUSED),
        (Refused("somebody was first", "stale"), Exit.CHANGED),
        (Refused("the store is away", "unavailable"), Exit.NO_LINK),
        (RunFailed("01", "failed", "ValueError", "x"), Exit.FAILED),
        (Fail("x", code=Exit.CHANGED), Exit.CHANGED),
        (ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg"), Exit.USAGE),
        (FileNotFoundError(2, "No such file", "payload.json"), Exit.USAGE),
        (ConnectionRefusedError("refused"), Exit.NO_LINK),
        (ZeroDivisionError("x"), Exit.FAILED),
    ],
)
def test_every_error_has_its_exit_code(error: Exception, code: Exit) -> None:
    assert say.explain(error).code == code


def test_an_error_says_what_to_do_next() -> None:
    assert "headway doctor" in say.explain(NotReachable()).todo
    assert "headway ls" in say.explain(Refused("no", "not_found")).todo


@pytest.mark.parametrize("name", ["asyncpg", "docker.errors", "textual", "opentelemetry.sdk"])
def test_a_missing_module_names_its_extra(name: str) -> None:
    assert "pip install 'headway[" in say.explain(ModuleNotFoundError(name=name)).todo


def test_messages_cannot_write_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        say.fail(HeadwayError("task \x1b]52;c;ZXZpbA==\x07 \u202e"))
    assert stop.value.code == Exit.REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b" not in captured.err
    assert "\\x1b" in captured.err


def test_raw_bodies_are_json_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    class Body(msgspec.Struct):
        value: msgspec.Raw
        none: msgspec.Raw = msgspec.Raw(b"")

    say.data([Body(msgspec.Raw(b'{"a":[1,null]}')), Recorded("01", "recorded")])
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"value": {"a": [1, None]}, "none": None}
    assert second["outcome"] == "recorded"


def test_tables_have_no_colour_where_stdout_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from headway_ops.render import status_text

    say.show(status_text("failed"))
    assert "\x1b" not in capsys.readouterr().out


def test_of_parts_that_failed_together_the_first_ones_reason_is_told() -> None:
    inner = ExceptionGroup("unhandled errors", [NotReachable("nats is away"), ValueError("x")])
    told = say.explain(ExceptionGroup("unhandled errors", [inner]))
    assert "nats is away" in told.what
    assert told.code == say.Exit.NO_LINK
