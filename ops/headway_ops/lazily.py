"""A parser that builds the command it is asked for, not all of them.

To read one signature costs a millisecond or more, and its module. Help, completion and "did you
mean" see every name; only what lists the commands with their help builds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

Command = Any
"""What typer makes of a function: it takes `args` and `prog_name`."""
Functions = Callable[[str], Callable[..., None]]


class Group(TyperGroup):
    """A group whose names are told without building what they stand for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the table."""
        return list(self.commands)


class Built(MutableMapping[str, Command]):
    """Commands by name, each made when it is asked for, once."""

    def __init__(self, names: list[str], make: Callable[[str], Command]) -> None:
        self._made: dict[str, Command] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Command:
        if self._made[name] is None:
            self._made[name] = self._make(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def lazy(
    app: typer.Typer, paths: Iterable[str], function: Functions, groups: Mapping[str, str]
) -> Command:
    """The parser of an app that has a callback and these commands.

    `paths`: names, or `group name` for those of a group; a group may be a command itself, else
    `groups` has its help. `function`: what carries a path out.
    """
    listed = list(paths)
    within = dict.fromkeys(path.rpartition(" ")[0] for path in listed if " " in path)
    under: dict[str, list[str]] = {"": [p for p in listed if " " not in p and p not in within]}
    under[""] += within
    for path in listed:
        group, _, name = path.rpartition(" ")
        if group:
            under.setdefault(group, []).append(name)

    def made(path: str) -> Command:
        if path not in under:
            return _one(path, function(path))
        own = function(path) if path not in groups else None
        return filled(_group(path, own, groups.get(path)), path)

    def filled(group: Command, path: str) -> Command:
        before = f"{path} " if path else ""
        group.commands = Built(under[path], lambda name: made(before + name))
        return group

    return filled(get_command(app), "")


def _one(path: str, function: Callable[..., None]) -> Command:
    one = typer.Typer(rich_markup_mode=None, add_completion=False)
    one.command(path.rpartition(" ")[2])(function)
    return get_command(one)


def _group(name: str, function: Callable[..., None] | None, help_: str | None) -> Command:
    """A group that does something itself, or only holds others."""
    given: dict[str, Any] = {} if help_ is None else {"help": help_}
    group = typer.Typer(
        cls=Group, name=name, no_args_is_help=function is None, rich_markup_mode=None,
        add_completion=False, **given,
    )  # fmt: skip
    group.callback(invoke_without_command=function is not None)(function or _nothing)
    return get_command(group)


def _nothing() -> None:
    """A group that only holds others."""
