"""Variables and secrets for tasks, from a file or the agent's own environment.

A task names what it needs; the values reach its runner over the channel before user code is
imported, and are never in container settings, payloads or logs.
"""

from __future__ import annotations

import os
import stat
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


class BadProviderFile(HeadwayError):
    """The provider file cannot be used as it is: which, why, and what to do."""

    code = "bad_provider_file"


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

    def check(self) -> None:
        """Read the file; raises BadProviderFile if there is none, it cannot be read, or others can.

        Beforehand: with it every run that names a secret would be given back, one by one.
        """
        if self._file is None:
            return
        where = f"agent.provider_file {self._file.absolute()}"
        try:
            status = self._file.stat()
            if stat.S_ISREG(status.st_mode) and too_open(status.st_mode, status.st_uid):
                raise BadProviderFile(
                    f"{where} has mode {stat.S_IMODE(status.st_mode):04o}: others can get at the"
                    f" secrets in it; chmod 600 {self._file.absolute()}"
                )
            self._refresh()
        except FileNotFoundError:
            raise BadProviderFile(
                f"{where} is not there: make it, with mode 0600 and NAME=value lines (or TOML), or"
                " take the setting out"
            ) from None
        except OSError as e:
            raise BadProviderFile(
                f"{where} cannot be read: {e.strerror}; it must be a file that user"
                f" {os.geteuid()}, under whom the agent runs, can read (mode 0600)"
            ) from None
        except UnicodeDecodeError:
            raise BadProviderFile(
                f"{where} is no text: write it anew, in UTF-8, with NAME=value lines (or TOML)"
            ) from None
        except ValueError as e:
            raise BadProviderFile(
                f"{where} is no TOML: {e}; mend it, or name it without .toml if it has NAME=value"
                " lines"
            ) from None

    def resolve(self, names: tuple[str, ...]) -> dict[str, str]:
        """The values; raises NotProvided with all that are missing.

        OSError or ValueError if the file is none any more since `check`.
        """
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


def too_open(mode: int, owner: int, reader: int | None = None) -> bool:
    """Is a file of secrets open to others? 0600 is the widest mode.

    0640 for one that belongs to root and is read by a user through its group, which then cannot
    even change it: a unit's user, or a volume of Kubernetes. `reader` is this process's user.
    """
    reader = os.geteuid() if reader is None else reader
    through_group = owner == 0 and reader != 0
    others = stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if through_group else stat.S_IRWXG)
    return bool(mode & others)


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
