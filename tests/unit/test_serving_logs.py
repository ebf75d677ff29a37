"""The log lines of engine and agent, as text and as JSON."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from headway_ops import serving
from headway_ops.say import Fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What is written to stderr; the root logger is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def test_each_record_is_one_json_object_with_its_traceback(
    said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_LOG_FORMAT", "json")
    serving.logs()
    log = logging.getLogger("headway.engine")
    log.warning("queue %s", "a\x1b[31m\nb")
    try:
        raise ValueError("no\x1b good")
    except ValueError:
        log.exception("it failed")
    text = said()
    first, second = [json.loads(line) for line in text.splitlines()]
    assert (first["level"], first["logger"]) == ("warning", "headway.engine")
    assert first["at"].endswith("+00:00")
    assert "\x1b" not in text
    assert "\x1b" not in first["message"]
    assert second["message"] == "it failed"
    assert "ValueError: no" in second["error"]
    assert "error" not in first


def test_a_format_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_LOG_FORMAT", "xml")
    with pytest.raises(Fail, match="HEADWAY_LOG_FORMAT"):
        serving.logs()


def test_text_is_what_there_is_without_the_variable(
    said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADWAY_LOG_FORMAT", raising=False)
    serving.logs()
    logging.getLogger("headway.agent").warning("two\nlines")
    assert "WARNING headway.agent: two" in said()
