"""Commands of one's own: `[aliases]` of `config.toml`, read and checked. Pure.

`fails = "runs status:failed since:2h"` makes `:fails`; what is typed after it is added. A list of
commands is carried out one after the other. An alias is made of commands, not of other aliases.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping

Aliases = Mapping[str, tuple[str, ...]]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
MOST = 20
"""Commands of one alias."""


class BadAliases(ValueError):
    """What is wrong with the file."""


def read(text: str, names: Iterable[str]) -> Aliases:
    """Name to commands. `names`: those of all commands; raises BadAliases."""
    known = set(names)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BadAliases(f"no TOML: {e}") from None
    if other := sorted(set(table) - {"aliases"}):
        raise BadAliases(f"[{other[0]}] is not known; there is: [aliases]")
    found: dict[str, tuple[str, ...]] = {}
    section = table.get("aliases", {})
    if not isinstance(section, dict):
        raise BadAliases('aliases is a table: [aliases], then name = "command"')
    for name, value in section.items():  # pyright: ignore[reportUnknownVariableType] open data
        if _NAME.fullmatch(str(name)) is None:  # pyright: ignore[reportUnknownArgumentType]
            raise BadAliases(f"{name!r} is no name: small letters, digits and -")
        if name in known:
            raise BadAliases(f"{name} is a command already")
        lines = [value] if isinstance(value, str) else value  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(lines, list) or not 0 < len(lines) <= MOST:  # pyright: ignore[reportUnknownArgumentType]
            raise BadAliases(f"{name}: a command, or a list of 1 to {MOST}")
        found[str(name)] = tuple(_command(str(name), line, known) for line in lines)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return found


def _command(name: str, line: object, known: set[str]) -> str:
    if not isinstance(line, str) or not line.strip():
        raise BadAliases(f"{name}: {line!r} is no command")
    text = line.strip().removeprefix(":").strip()
    first = text.partition(" ")[0]
    if not text.startswith("!") and first not in known:
        raise BadAliases(f"{name}: no command {first!r}")
    return text


def commands(aliases: Aliases, name: str, rest: str) -> tuple[str, ...]:
    """What an alias stands for; what was typed after it goes to the last command."""
    *before, last = aliases[name]
    return (*before, f"{last} {rest}".rstrip())
