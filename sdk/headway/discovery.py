"""Finds the installation that `headway up` runs near here: `.headway/client.toml`.

Looked for in the working directory and its parents, as git looks for `.git`. A file that belongs to
somebody else is passed over: in a shared directory it could send payloads to a stranger's broker.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from headway.errors import BadPolicy

DIRECTORY = ".headway"
FILE = "client.toml"

_KEYS = {
    "nats_url": "HEADWAY_NATS_URL",
    "namespace": "HEADWAY_NAMESPACE",
    "credentials": "HEADWAY_CREDENTIALS",
}


def client_file(start: Path | None = None) -> Path | None:
    """The nearest client file at or above the directory, or None."""
    try:
        here = (start or Path.cwd()).resolve()
    except OSError:  # the working directory was removed
        return None
    for folder in (here, *here.parents):
        path = folder / DIRECTORY / FILE
        try:
            owner = path.stat().st_uid
        except OSError:
            continue
        if not hasattr(os, "getuid") or owner in {os.getuid(), 0}:
            return path
    return None


def variables(start: Path | None = None) -> dict[str, str]:
    """What the nearest client file says, under the names of the HEADWAY_* variables.

    Empty where there is no file. Raises BadPolicy for one that cannot be read.
    """
    path = client_file(start)
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:  # `headway up` ended between the two looks
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise BadPolicy(str(path), str(e), "a client file written by `headway up`") from None
    found: dict[str, str] = {}
    for key, variable in _KEYS.items():
        value = content.get(key, "")
        if not isinstance(value, str):
            raise BadPolicy(f"{key} in {path}", value, "a text")
        if value:
            found[variable] = value
    return found
