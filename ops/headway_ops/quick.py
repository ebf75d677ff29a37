"""`headway tui`, `engine` and `agent` without the parser of all commands.

It takes as long to load as the console, and a tenth of an idle role's memory. What is here
understands the plain command lines of these and nothing else: for help, mistakes, `--serve` and
whatever is unusual it gives way, and the parser decides. A test holds both to the same answers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTEXT, URL = "HEADWAY_CONTEXT", "HEADWAY_NATS_URL"
_FLAGS = {
    "--ascii": ("ascii_only", True), "--readonly": ("readonly", True), "--mouse": ("mouse", True),
    "--no-mouse": ("mouse", False),
}  # fmt: skip
_VALUES = {"--theme": "theme", "--filter": "text", "-f": "text"}
_BEFORE = {"--nats-url": URL, "--namespace": "HEADWAY_NAMESPACE",
           "-n": "HEADWAY_NAMESPACE", "--context": CONTEXT}  # fmt: skip


class Opened(NamedTuple):
    """How the console is opened."""

    run: str = ""
    text: str = ""
    theme: str = "headway-dark"
    ascii_only: bool = False
    readonly: bool = False
    mouse: bool = True
    record: str = ""
    dump: str = ""
    speed: float = 1.0

    def arguments(self) -> list[str]:
        """The same as arguments of `headway`."""
        found = ["tui", "--theme", self.theme]
        found += ["--filter", self.text] if self.text else []
        found += ["--ascii"] if self.ascii_only else []
        found += ["--readonly"] if self.readonly else []
        found += [] if self.mouse else ["--no-mouse"]
        found += ["--replay-events", self.dump, "--speed", f"{self.speed:g}"] if self.dump else []
        return [*found, "--", self.run] if self.run else found


class Start(NamedTuple):
    """The console, and the variables that are to be set for it."""

    opened: Opened
    environment: dict[str, str]


def console_of(argv: Sequence[str]) -> Start | None:
    """What this command line opens, its options of every command in front; None: ask the parser."""
    words = iter(argv)
    env: dict[str, str] = {}
    for word in words:
        if word == "tui":
            opened = _opened(words)
            return Start(opened, env) if opened is not None else None
        name, given, value = word.partition("=")
        if name not in _BEFORE or (given and not name.startswith("--")):
            return None
        value = value if given else next(words, "")
        if not value or value.startswith("-"):
            return None
        env[_BEFORE[name]] = value
    return None


def _opened(words: Iterator[str]) -> Opened | None:
    found: dict[str, str | bool] = {}
    for word in words:
        name, given, value = word.partition("=")
        if word in _FLAGS:
            field, on = _FLAGS[word]
            found[field] = on
        elif name in _VALUES and not (given and not name.startswith("--")):
            value = value if given else next(words, "-")
            if value.startswith("-"):
                return None
            found[_VALUES[name]] = value
        elif word == "--":
            rest = list(words)
            if "run" in found or len(rest) != 1:
                return None
            found["run"] = rest[0]
        elif word.startswith("-") or "run" in found:
            return None
        else:
            found["run"] = word
    return Opened(**found)  # pyright: ignore[reportArgumentType] each field by its own table


class Role(NamedTuple):
    """A role that is served until it is stopped."""

    name: str
    """engine or agent."""
    config: str = ""
    roles: str = ""
    """engine: its `--roles`."""
    with_agent: bool = False
    """engine: the agent runs in the same process."""


def role_of(argv: Sequence[str]) -> Role | None:
    """What this command line serves; None: ask the parser."""
    if not argv or argv[0] not in {"engine", "agent"}:
        return None
    options = {"--config": "config", "-c": "config"}
    if argv[0] == "engine":
        options["--roles"] = "roles"
    found: dict[str, str] = {}
    with_agent = False
    words = iter(argv[1:])
    for word in words:
        if word == "--with-agent" and argv[0] == "engine":
            with_agent = True
            continue
        name, given, value = word.partition("=")
        if name not in options or (given and not name.startswith("--")):
            return None
        value = value if given else next(words, "-")
        if value.startswith("-"):
            return None
        found[options[name]] = value
    return Role(argv[0], **found, with_agent=with_agent)


def set_environment(values: dict[str, str]) -> None:
    """Through the environment: the settings have one reader, and child processes hear it too.

    What an option says stands in place of what variables say: a context of all that they say where
    to go, a server's address of a context. Raises Fail where both are options, and BadContext.
    """
    given = {name: value for name, value in values.items() if value}
    if CONTEXT in given:
        from headway import contexts
        from headway_ops.say import Exit, Fail

        if URL in given:
            raise Fail(
                "--context says where NATS is, and so does --nats-url", "one of them", Exit.USAGE
            )
        contexts.choose(given[CONTEXT])
    elif URL in given:
        os.environ.pop(CONTEXT, None)
    os.environ.update(given)


def no_context(command: str, *, own: bool) -> None:
    """For what has servers of its `own`: a context is passed over; else refused by Fail."""
    from headway_ops.say import Exit, Fail, tell

    name = os.environ.pop(CONTEXT, "")
    if name and own:
        tell(f"the context {name} is not used: `headway {command}` starts servers of its own")
    elif name:
        raise Fail(
            f"the context {name} is for those who ask: `headway {command}` takes its servers from"
            " --config and HEADWAY_* variables",
            f"no --context, and {CONTEXT} unset",
            Exit.USAGE,
        )
