from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headway_ops import following, giving, link
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from pathlib import Path

    from headway.wire.enqueue import EnqueueItem


class Handle:
    """What a submitted item is answered with."""

    recorded, duplicate = "recorded", False

    def __init__(self, item: EnqueueItem) -> None:
        self.id = item.run


class Client:
    """Takes items; after `breaks_after` requests it does not answer any more."""

    def __init__(self, breaks_after: int = 1000, error: type[BaseException] = OSError) -> None:
        self.items: list[EnqueueItem] = []
        self._left, self._error = breaks_after, error

    async def submit(self, items: list[EnqueueItem], _: Any) -> list[Handle]:
        """Take them, or break."""
        if not self._left:
            raise self._error
        self._left -= 1
        self.items += items
        return [Handle(item) for item in items]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    return use(monkeypatch, Client())


def use(monkeypatch: pytest.MonkeyPatch, client: Client) -> Client:
    monkeypatch.setattr(link, "with_client", lambda work: asyncio.run(work(client)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] as with_client
    return client


def test_each_line_of_a_file_is_a_run_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "hours.jsonl"
    file.write_text('{"n": 1}\n\n {"n": 2}\n')
    assert giving.payloads_of(str(file)) == [b'{"n": 1}', b'{"n": 2}']


def test_each_line_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"n":1}\n')))
    assert giving.payloads_of("-") == [b'{"n":1}']


def test_a_wrong_line_is_named_before_anything_is_enqueued(tmp_path: Path) -> None:
    file = tmp_path / "hours.jsonl"
    file.write_text('{"n": 1}\n[2]\n')
    with pytest.raises(Fail, match=r"line 2 must be a JSON object") as caught:
        giving.payloads_of(str(file))
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("count", "payload", "parameters"), [(2, "", []), (1, "{}", []), (1, "", ["n=1"])]
)
def test_each_goes_alone(count: int, payload: str, parameters: list[str]) -> None:
    with pytest.raises(Fail, match="--each goes alone"):
        giving.many_of("x.jsonl", count, payload, parameters)


def test_ids_are_data_and_nothing_else(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    giving.enqueue(giving.Ask("t", b"{}"), [b"{}"] * 2500, as_json=False)
    told = capsys.readouterr()
    assert told.out.split() == [item.run for item in client.items]
    assert len(set(told.out.split())) == 2500
    assert told.err == ""  # no bar where there is no terminal


def test_each_of_several_runs_has_a_key_of_its_own_that_a_repetition_has_too(
    client: Client,
) -> None:
    for _ in range(2):
        giving.enqueue(giving.Ask("t", b"{}", key="import"), [b"{}"] * 2, as_json=True)
    keys = [item.key for item in client.items]
    assert keys == ["import-1", "import-2"] * 2
    giving.enqueue(giving.Ask("t", b"{}", key="one"), [b"{}"], as_json=True)
    assert client.items[-1].key == "one"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_says_how_many_were_enqueued(
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(monkeypatch, Client(breaks_after=2, error=error))
    with pytest.raises(error):
        giving.enqueue(giving.Ask("t", b"{}"), [b"{}"] * 2500, as_json=True)
    told = capsys.readouterr()
    assert len([json.loads(line) for line in told.out.splitlines()]) == 2000
    assert "2,000 of 2,500 runs were enqueued; of 500 more it is not known" in told.err
    assert "--key NAME" in told.err


def test_who_stops_following_hears_that_the_run_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stopped(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "to_the_end", stopped)
    with pytest.raises(KeyboardInterrupt):
        giving.enqueue_and_follow(giving.Ask("t", b"{}"), as_json=False)
    (item,) = client.items
    assert f"the run goes on: headway watch {item.run}" in capsys.readouterr().err


def test_a_terminal_sees_a_bar(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    giving.enqueue(giving.Ask("t", b"{}"), [b"{}"] * 1500, as_json=False)
    assert "1500/1500" in screen.getvalue()
    assert capsys.readouterr().out.split() == [item.run for item in client.items]
