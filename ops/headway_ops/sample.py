"""settings: every setting of engine and agent, its default, its variable and its meaning."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, Struct

from headway_engine.config import Config, field_docs, sample_toml
from headway_ops import say


class Setting(Struct):
    """One setting: `[section] name` in the file, `variable` in the environment."""

    section: str
    name: str
    variable: str
    default: Any
    """None = it must be given, or it is a table of its own."""
    meaning: str


def run(*, as_json: bool) -> None:
    """Print the sample file; as JSON one object for each setting."""
    if as_json:
        say.rows(settings())
    else:
        say.text_of_ours(sample_toml())


def settings() -> list[Setting]:
    """All of them, in the order of the sample file."""
    found: list[Setting] = []
    for section in msgspec.structs.fields(Config):
        kinds: list[Any] = [section.type, *get_args(section.type)]
        kind = next(k for k in kinds if isinstance(k, type) and issubclass(k, Struct))
        docs = field_docs(kind)
        for field in msgspec.structs.fields(kind):
            default = None if field.default is NODEFAULT else field.default
            variable = f"HEADWAY_{section.name}_{field.name}".upper()
            meaning = docs.get(field.name, "")
            found.append(Setting(section.name, field.name, variable, default, meaning))
    return found
