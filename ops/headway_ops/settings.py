"""What the command line knows of the installation near here, beyond the client's settings."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from headway.discovery import client_file

SERVER_FILE = "headway.toml"
"""In the state directory: what engine and agent of `headway up` are started with."""
SYSTEM_FILE = Path("/etc/headway/headway.toml")
"""What the units of a host are started with."""


def postgres_dsn() -> str:
    """Where Postgres is: HEADWAY_POSTGRES_DSN, or what `headway up` near here uses; else empty.

    It holds a password: never print it.
    """
    given = os.environ.get("HEADWAY_POSTGRES_DSN", "")
    if given:
        return given
    # Another NATS may be meant than that of the file: then its Postgres is another one too.
    return _of_this_nats("postgres", "dsn")


def edge_folder() -> str:
    """Where the engine of the `headway up --edge` near here has its projection; else empty."""
    return _of_this_nats("edge", "folder")


def monitor_url() -> str:
    """Monitoring port of the NATS of the `headway up --edge` near here; else empty."""
    return _of_this_nats("nats", "monitor_url")


def _of_this_nats(section: str, key: str) -> str:
    """A setting of `headway up` near here, unless another NATS than its own is meant."""
    content = _server_file()
    if os.environ.get("HEADWAY_NATS_URL", "") not in {"", _value(content, "nats", "url")}:
        return ""
    return _value(content, section, key)


def agent_folder() -> Path | None:
    """The agent's folder on this host: HEADWAY_AGENT_STATE_DIR, or that of `headway up` near."""
    given = os.environ.get("HEADWAY_AGENT_STATE_DIR", "")
    value = given or _value(_server_file(), "agent", "state_dir")
    return Path(value) if value else None


def shown_dsn(dsn: str) -> str:
    """Where a Postgres is, without password: fit for logs and findings."""
    parts = urlsplit(dsn)
    socket = parse_qs(parts.query).get("host", [""])[0]
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ":?"
    user = f"{parts.username}@" if parts.username else ""
    where = parts.hostname or socket or "localhost"
    return f"{user}{where}{port}{parts.path}"


def _server_file() -> dict[str, Any]:
    """What `headway up` near here told its roles; empty without one."""
    file = client_file()
    try:
        return tomllib.loads((file.parent / SERVER_FILE).read_text("utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _value(content: dict[str, Any], section: str, key: str) -> str:
    table: dict[str, Any] = content.get(section) or {}
    return str(table.get(key, ""))
