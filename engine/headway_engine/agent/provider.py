"""Variables and secrets for tasks, from a file or the agent's own environment.

A task names what it needs; the values reach its runner over the channel before user code is
imported, and are never in container settings, payloads or logs.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, cast

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotProvided(HeadwayError):
    """A task asks for a variable or secret that this agent does not have."""

    code = "not_provided"

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            f"this agent does not provide {', '.join(names)}: add it to its provider file"
        )


class Provider:
    """Looks values up by name. The file wins over the environment; a changed one is read again.

    TOML: names to strings, in `[vars]` and `[secrets]` or at the top. Anything else is read as
    dotenv lines, `NAME=value`.
    """

    def __init__(
        self,
        file: str | Path | None = None,
        prefix: str = "HEADWAY_TASK_",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._file = Path(file) if file else None
        self._prefix = prefix
        self._environ = os.environ if environ is None else environ
        self._read_at: tuple[int, int] | None = None
        self._values: dict[str, str] = {}

    def resolve(self, names: tuple[str, ...]) -> dict[str, str]:
        """The values; raises NotProvided with all that are missing, OSError for a broken file."""
        if not names:
            return {}
        self._refresh()
        found: dict[str, str] = {}
        missing: list[str] = []
        for name in names:
            value = self._values.get(name, self._environ.get(self._prefix + name))
            if value is None:
                missing.append(name)
            else:
                found[name] = value
        if missing:
            raise NotProvided(missing)
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        status = self._file.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._read_at:
            return
        text = self._file.read_text(encoding="utf-8")
        self._values = from_toml(text) if self._file.suffix == ".toml" else from_dotenv(text)
        self._read_at = stamp


def from_toml(text: str) -> dict[str, str]:
    """Names and values of a TOML provider file; raises ValueError if it is none."""
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("not TOML that can be read: nested too deep") from None
    flat: dict[str, str] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            table = cast("dict[str, object]", value)
            flat.update({k: str(v) for k, v in table.items()})
        else:
            flat[name] = str(value)
    return flat


def from_dotenv(text: str) -> dict[str, str]:
    """Names and values of `NAME=value` lines; quotes around a value are taken off."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip().removeprefix("export ")
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found
