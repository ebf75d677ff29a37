"""A script as TOML text, as a recorder writes it: pure. `parse` reads it back to an equal script.

Values that look like secrets are left out of the text: a `$VARIABLE` stands for each, named in
`[vars]`, and comes from the environment when the script is read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from headway.replays.script import Script, Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET_KEY = re.compile(
    r"(?i)(?:^|[^a-z])(?:pass(?:word|wd|phrase)?|secrets?|tokens?|api[_-]?keys?|auth(?:orization)?"
    r"|credentials?|private[_-]?keys?|cookie)$"
)
_SECRET_VALUE = re.compile(
    r"^(?:sk-|ghp_|gho_|github_pat_|xox[abps]-|AKIA|eyJ[A-Za-z0-9_-]+\.|Bearer |-----BEGIN )"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_WIDTH = 100
LONG = 3
"""Items of a list up to which it is written on one line."""


class Written(NamedTuple):
    """A script as text."""

    text: str
    secrets: dict[str, str]
    """Variables that stand for what was left out, with their values: for the environment."""


def write_toml(script: Script, comments: Iterable[str] = ()) -> Written:
    """The script as TOML under these comment lines.

    Its own variables are not in it: their values were filled in when it was read.
    """
    hidden = _Hidden()
    edit = {
        what: _edit(patch, hidden, what)
        for what, patch in (("state", script.edit.state), ("payload", script.edit.payload))
        if patch
    }
    declared = {n: msgspec.to_builtins(Variable(required=True)) for n in hidden.found}
    data: dict[str, Any] = msgspec.to_builtins(script)
    lines = [f"# {_one_line(c)}".rstrip() for c in comments]
    lines.append("version = 1")
    if script.name:
        lines.append(f"name = {_value(_literal(script.name))}")
    for section in ("select", "replay"):
        lines += _table(section, _literal(data.get(section, {})))
    for what, patch in edit.items():
        if isinstance(patch, str):
            lines += ["", "[edit]"] if "[edit]" not in lines else []
            lines.append(f"{what} = {_value(patch)}")
    for what, patch in edit.items():
        if isinstance(patch, dict):
            lines += _table(f"edit.{what}", patch)
    lines += _table("vars", declared)
    lines += _table("pace", _literal(data.get("pace", {})))
    for check in data.get("check", ()):
        lines += ["", "[[check]]", *(f"{k} = {_value(v)}" for k, v in _literal(check).items())]
    lines += _table("gate", data.get("gate", {}))
    return Written("\n".join(lines) + "\n", hidden.found)


class _Hidden:
    """Secrets that were met, by the variable that stands for each."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def name(self, path: list[str], value: str) -> str:
        base = re.sub(r"[^A-Z0-9]+", "_", "_".join(path).upper()).strip("_") or "SECRET"
        base = base if base[0].isalpha() else f"V_{base}"
        name, n = base, 1
        while self.found.get(name, value) != value:
            n += 1
            name = f"{base}_{n}"
        self.found[name] = value
        return name

    def without(self, value: Any, path: list[str]) -> Any:
        """The value with variables in place of secrets, other `$` doubled."""
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {k: self.without(v, [*path, k]) for k, v in items}
        if isinstance(value, list):
            return [self.without(v, path) for v in cast("list[Any]", value)]
        if isinstance(value, str):
            return f"${self.name(path, value)}" if is_secret(path[-1], value) else _literal(value)
        return value


def is_secret(key: str, value: str) -> bool:
    """True if a text under this key should not stand in a file."""
    return bool(value) and bool(_SECRET_KEY.search(key) or _SECRET_VALUE.search(value))


def _edit(patch: dict[str, Any] | str, hidden: _Hidden, what: str) -> dict[str, Any] | str:
    """A patch as TOML can hold it: a table, or JSON text where it removes members."""
    value: Any = msgspec.json.decode(patch) if isinstance(patch, str) else patch
    shown = hidden.without(value, [what])
    if isinstance(shown, dict) and _in_toml(shown):
        return cast("dict[str, Any]", shown)
    return json.dumps(shown, ensure_ascii=False)


def _in_toml(value: Any) -> bool:
    match value:
        case None:
            return False
        case bool() | str():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return True
        case dict():
            return all(_in_toml(v) for v in cast("dict[str, Any]", value).values())
        case list():
            return all(_in_toml(v) for v in cast("list[Any]", value))
        case _:
            return False


def _literal(value: Any) -> Any:
    """The value with every `$` doubled: read back, it is what it was."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_literal(v) for v in cast("list[Any]", value)]
    return value


def _table(name: str, values: dict[str, Any]) -> list[str]:
    if not values:
        return []
    return ["", f"[{name}]", *(line for k, v in values.items() for line in _lines(k, v))]


def _lines(key: str, value: Any) -> list[str]:
    """A member; of a long list one item a line, for whoever reads a diff."""
    if isinstance(value, list) and len(cast("list[Any]", value)) > LONG:
        items = [f"  {_value(v)}," for v in cast("list[Any]", value)]
        return [f"{_key(key)} = [", *items, "]"]
    return [f"{_key(key)} = {_value(value)}"]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case float():
            return repr(value)
        case dict():
            items = cast("dict[str, Any]", value).items()
            return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in items) + "}"
        case list() | tuple():
            return "[" + ", ".join(_value(v) for v in cast("list[Any]", value)) + "]"
        case _:
            return str(value)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL.
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[: _COMMENT_WIDTH * 4]
