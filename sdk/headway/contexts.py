"""Named connections: one file each, `contexts/NAME.toml` in the user's folder of settings.

    nats_url    = "tls://nats.example.com:4222"
    namespace   = "prod"
    credentials = "prod.creds"      # beside this file, or an absolute path
    protect     = true              # the console has counts and names typed before changes
    readonly    = true              # nothing is changed from here

`--context NAME` of a command, or the variable HEADWAY_CONTEXT, chooses one. The file alone says
where to go: what `headway up` left near the working directory is not asked then.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from headway.errors import HeadwayError
from headway.folders import config_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "HEADWAY_CONTEXT"
FOLDER = "contexts"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_WHERE = ("HEADWAY_NATS_URL", "HEADWAY_NAMESPACE", "HEADWAY_USER", "HEADWAY_CREDENTIALS",
          "HEADWAY_TLS_CA")  # fmt: skip
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class BadContext(HeadwayError):
    """A named connection is not there, or its file cannot be used."""

    code = "bad_context"


class Context(Struct, forbid_unknown_fields=True, frozen=True):
    """What a file says; what it leaves out is as without it."""

    nats_url: Annotated[str, Meta(min_length=1)]
    namespace: str = ""
    user: str = ""
    credentials: str = ""
    """A path; a relative one is beside the file."""
    tls_ca: str = ""
    """As `credentials`."""
    protect: bool = False
    """The console asks for more than a key before it changes something."""
    readonly: bool = False
    """Nothing is changed by this connection."""

    def variables(self) -> dict[str, str]:
        """The same as HEADWAY_* variables."""
        found = {
            "HEADWAY_NATS_URL": self.nats_url, "HEADWAY_NAMESPACE": self.namespace,
            "HEADWAY_USER": self.user, "HEADWAY_CREDENTIALS": self.credentials,
            "HEADWAY_TLS_CA": self.tls_ca,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}


def folder(env: Mapping[str, str] | None = None) -> Path:
    """Where the files are."""
    return config_folder(env) / FOLDER


def names(env: Mapping[str, str] | None = None) -> list[str]:
    """The contexts there are; none where the folder cannot be read."""
    try:
        return sorted(f.stem for f in folder(env).glob("*.toml") if _NAME.match(f.stem))
    except OSError:
        return []


def named(name: str, env: Mapping[str, str] | None = None) -> Context:
    """A context by its name; raises BadContext that says what to do."""
    file = folder(env) / f"{name}.toml"
    if not _NAME.match(name):
        raise BadContext(f"{name[:80]!r} is no name of a context: letters, digits, `_`, `-`, `.`")
    try:
        with open(file, "rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read().decode()
    except FileNotFoundError:
        have = ", ".join(names(env)) or "none yet"
        raise BadContext(f"no context {name!r} (there are: {have}): {file} is not there") from None
    except (OSError, UnicodeDecodeError) as e:
        raise BadContext(f"the context {name!r} cannot be read: {e}") from None
    try:
        found = msgspec.convert(tomllib.loads(text), Context)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as e:
        raise BadContext(f"the context {name!r} is wrong: {e}: look at {file}") from None
    if hasattr(os, "getuid") and status.st_uid not in {os.getuid(), 0}:
        raise BadContext(f"the context {name!r} is not yours: {file} belongs to another user")
    if _holds_secret(found.nats_url) and status.st_mode & _OTHERS:
        raise BadContext(
            f"the context {name!r} holds a password, and others may read it: chmod 600 {file}"
        )
    return msgspec.structs.replace(
        found,
        credentials=_beside(file, found.credentials),
        tls_ca=_beside(file, found.tls_ca),
    )


def choose(name: str) -> None:
    """This process, and those that it starts, use a context from now on.

    Variables that say where another server is are dropped. Raises BadContext, and changes nothing
    then.
    """
    named(name)
    for variable in _WHERE:
        os.environ.pop(variable, None)
    os.environ[VARIABLE] = name


def _holds_secret(nats_url: str) -> bool:
    urls = (u.strip() for u in nats_url.split(","))
    parts = [urlsplit(u if "://" in u else f"nats://{u}") for u in urls]
    return any(p.username or p.password for p in parts)


def _beside(file: Path, path: str) -> str:
    return str(file.parent / os.path.expanduser(path)) if path else ""
