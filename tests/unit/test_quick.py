"""The console's short way past the parser of all commands: the same answers, or none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from headway_ops import cli, console, quick

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
