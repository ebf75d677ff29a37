"""The short way of some commands past the parser of all: the same answers, or none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from headway_ops import cli, console, quick, serving
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway_ops.quick import Opened

VARIABLES = ("HEADWAY_NATS_URL", "HEADWAY_NAMESPACE")
PLAIN = [
    [], ["01JD9K4W2M"], ["--", "01JD9K4W2M"], ["--ascii"], ["--readonly", "--no-mouse"],
    ["--no-mouse", "--mouse"], ["--theme", "headway-cb", "--theme=headway-mono"],
    ["-f", "status:failed since:2h"], ["--filter=a=b", "01JD9K"], ["--filter", ""],
    ["--nats-url", "nats://far:4222"], ["--namespace=lab", "--ascii", "01JD9K"],
]  # fmt: skip
ODD = [
    ["--help"], ["--serve"], ["--serve-at", "8000"], ["--keys"], ["one", "two"], ["--nonsense"],
    ["--theme"], ["-f=x"], ["-fx"], ["--filter", "-x"], ["--ascii=1"], ["--", "a", "b"],
]  # fmt: skip


def of_the_parser(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Opened, list[str]]:
    """What the parser of all commands opens, and the variables then."""
    opened: list[Opened] = []

    def kept(found: Opened) -> None:
        opened.append(found)

    monkeypatch.setattr(console, "open_console", kept)
    parser: Any = cli.build()
    parser(args=argv, standalone_mode=False)
    return opened[0], [os.environ.get(name, "") for name in VARIABLES]


@pytest.mark.parametrize("arguments", PLAIN)
def test_a_plain_line_means_the_same_as_to_the_parser(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = cli.hoisted(["tui", *arguments])
    start = quick.console_of(argv)
    assert start is not None
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    opened, variables = of_the_parser(argv, monkeypatch)
    assert start.opened == opened
    assert [start.environment.get(name, "") for name in VARIABLES] == variables


@pytest.mark.parametrize("arguments", ODD)
def test_whatever_is_unusual_is_left_to_the_parser(arguments: list[str]) -> None:
    assert quick.console_of(cli.hoisted(["tui", *arguments])) is None


def test_other_commands_are_left_to_the_parser() -> None:
    for line in ("", "ls", "--version", "-n lab ls", "show tui", "--nats-url"):
        assert quick.console_of(cli.hoisted(line.split())) is None


def test_what_is_handed_to_a_child_is_understood_again() -> None:
    opened = quick.Opened("01JD9K", "a b", "headway-mono", True, True, False)
    start = quick.console_of(opened.arguments())
    assert start is not None
    assert start.opened == opened


def test_a_theme_that_is_none_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "_prepare", lambda: None)
    with pytest.raises(Fail, match=r"no theme 'nonsense': headway-dark, .*nord") as refused:
        console.open_console(quick.Opened(theme="nonsense"))
    assert refused.value.code == Exit.USAGE


SERVED = [
    ["engine"], ["agent"], ["engine", "--config", "a.toml"], ["agent", "-c", "a.toml"],
    ["engine", "--config=a.toml", "--roles", "api,timers"],
    ["engine", "--with-agent", "-c", "a.toml"], ["agent", "--config=a=b.toml"],
]  # fmt: skip
NOT_SERVED = [
    [], ["engine", "--help"], ["agent", "--roles", "api"], ["engine", "--config"],
    ["engine", "-c=a.toml"], ["agent", "more"], ["engine", "--config", "--roles"], ["ls"],
    ["agent", "--with-agent"], ["engine", "--with-agent=yes"],
]  # fmt: skip


@pytest.mark.parametrize("argv", SERVED)
def test_a_role_is_served_as_the_parser_would(
    argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str, bool]] = []

    def engine(config: str, roles: str = "", *, with_agent: bool = False) -> None:
        asked.append(("engine", config, roles, with_agent))

    def agent(config: str) -> None:
        asked.append(("agent", config, "", False))

    monkeypatch.setattr(serving, "engine", engine)
    monkeypatch.setattr(serving, "agent", agent)
    cli.main(argv)
    parser: Any = cli.build()
    parser(args=argv, standalone_mode=False)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("argv", NOT_SERVED)
def test_what_is_unusual_of_a_role_is_left_to_the_parser(argv: list[str]) -> None:
    assert quick.role_of(argv) is None
