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
    """Where Postgres is: HEADWAY_POSTGRES_DSN, or what the engine here uses; else empty.

    It holds a password: never print it.
    """
    given = os.environ.get("HEADWAY_POSTGRES_DSN", "")
    if given:
        return given
    # Another NATS may be meant than that of the file: then its Postgres is another one too.
    return _of_this_nats("postgres", "dsn")


def edge_folder() -> str:
    """Where the engine of the edge here has its projection; else empty."""
    return _of_this_nats("edge", "folder")


def monitor_url() -> str:
    """Monitoring port of the NATS of the edge here; else empty."""
    return _of_this_nats("nats", "monitor_url")


def _of_this_nats(section: str, key: str) -> str:
    """A setting of the servers here, unless another NATS than theirs is meant."""
    content = _server_file()
    if os.environ.get("HEADWAY_NATS_URL", "") not in {"", _value(content, "nats", "url")}:
        return ""
    return _value(content, section, key)


def agent_folder() -> Path | None:
    """The agent's folder on this host: HEADWAY_AGENT_STATE_DIR, or that of the agent here."""
    given = os.environ.get("HEADWAY_AGENT_STATE_DIR", "")
    value = given or _value(_server_file(), "agent", "state_dir")
    return Path(value) if value else None


def provider_file() -> Path | None:
    """The file with variables and secrets of the agent on this host, if its settings name one."""
    given = os.environ.get("HEADWAY_AGENT_PROVIDER_FILE", "")
    value = given or _value(_server_file(), "agent", "provider_file")
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


def server_file() -> Path | None:
    """What engine and agent here are started with: by `headway up` near here, else by units."""
    near = client_file()
    found = SYSTEM_FILE if near is None else near.parent / SERVER_FILE
    return found if os.access(found, os.R_OK) else None


def _server_file() -> dict[str, Any]:
    """The same as its content; empty without one."""
    file = server_file()
    try:
        return tomllib.loads(file.read_text("utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _value(content: dict[str, Any], section: str, key: str) -> str:
    table: dict[str, Any] = content.get(section) or {}
    return str(table.get(key, ""))
