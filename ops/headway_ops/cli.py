"""`headway ...`: the parser and the table of commands.

The commands' signatures live in `headway_ops.commands`: the one that is called is loaded
(`headway_ops.lazily`), and its body imports what it works with. `headway tui`, `engine` and `agent`
do without that parser (`headway_ops.quick`). The base install has no typer: `headway` there says
which extra to install.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from headway_ops import quick, std

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_ops.lazily import Command
    from headway_ops.quick import Role, Start

HELP = "Durable tasks on NATS JetStream, watched and steered from the terminal."


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code (see `headway_ops.say.Exit`)."""
    std.fill()
    from headway_ops import say

    words = hoisted(sys.argv[1:] if argv is None else argv)
    try:
        _run(words)
    except KeyboardInterrupt:
        std.finish()
        raise SystemExit(130) from None
    except SystemExit as e:
        if (trouble := std.finish()) is not None and not e.code:
            say.fail(trouble)
        raise
    except Exception as e:
        if os.environ.get("HEADWAY_DEBUG"):
            raise
        std.finish()
        say.fail(e)


def _run(words: list[str]) -> None:
    if (start := quick.console_of(words)) is not None:
        _console(start)
    elif (role := quick.role_of(words)) is not None:
        _serve(role)
    else:
        build()(args=words, prog_name="headway")


def _console(start: Start) -> None:
    quick.set_environment(start.environment)
    from headway_ops import console

    console.open_console(start.opened)


def _serve(role: Role) -> None:
    from headway_ops import serving

    if role.name == "engine":
        serving.engine(role.config, role.roles, with_agent=role.with_agent)
    else:
        serving.agent(role.config)


_EVERYWHERE = ("--context", "--nats-url", "--namespace")


def hoisted(argv: Sequence[str]) -> list[str]:
    """The options of every command in front of the command, wherever they were written."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*front, *rest, word, *words]
        name, given, _ = word.partition("=")
        if name in _EVERYWHERE:
            front.append(word)
            if not given and (value := next(words, None)) is not None:
                front.append(value)
        else:
            rest.append(word)
    return [*front, *rest]


def build() -> Command:
    """The parser; raises ModuleNotFoundError in a base install."""
    import typer

    from headway_ops import commands, say
    from headway_ops.commands.options import root
    from headway_ops.lazily import Group, lazy

    app = typer.Typer(
        cls=Group, name="headway", help=HELP, epilog=say.EXIT_HELP, no_args_is_help=True,
        rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    )  # fmt: skip
    app.callback()(root)
    return lazy(app, commands.TABLE, commands.function, _GROUPS)


_GROUPS = {
    "replay": "Runs again: one, or many by a script.",
    "queue": "Queues: what waits, limits, pause and resume.",
    "image": "Task images.",
    "edge": "Without a database: kit, copies, and a hub to join.",
    "nats": "The broker's users: keys, rights, accounts, TLS.",
}
