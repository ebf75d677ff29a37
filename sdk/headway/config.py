"""Settings of a client, from HEADWAY_* variables, with defaults that work on one machine.

`headway up` prints the variables that lead to its servers. No setting holds a secret in the clear:
credentials are a path to a file, and a password in the URL is left out of every message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headway import discovery, subjects
from headway.errors import BadPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "nats://127.0.0.1:4222"

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Headway is and who asks."""

    nats_url: str = DEFAULT_URL
    """HEADWAY_NATS_URL: one URL or several, separated by commas."""
    namespace: str = "default"
    """HEADWAY_NAMESPACE: project and environment inside one deployment."""
    user: str = "local"
    """HEADWAY_USER: the name in `hw.api.<ns>.<user>.<verb>`; the broker vouches for it."""
    credentials: str = ""
    """HEADWAY_CREDENTIALS: path of a file with an nkey seed, or with a user's JWT and seed."""
    tls_ca: str = ""
    """HEADWAY_TLS_CA: path of the CA certificate for `tls://` URLs; empty = the system's."""
    connect_timeout: float = 5.0
    """HEADWAY_CONNECT_TIMEOUT: seconds until the first connection must stand."""
    request_timeout: float = 5.0
    """HEADWAY_REQUEST_TIMEOUT: seconds to wait for *recorded* and for answers of the engine."""

    @property
    def urls(self) -> list[str]:
        """The servers to try."""
        return [u.strip() for u in self.nats_url.split(",") if u.strip()]

    @property
    def shown_url(self) -> str:
        """The servers without user and password, for messages."""
        return ", ".join(_without_secret(u) for u in self.urls)


def from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from HEADWAY_* variables; raises BadName or BadPolicy naming what is wrong.

    Without `env`, what `headway up` wrote near the working directory stands in for variables that
    are not set.
    """
    env = {**discovery.variables(), **os.environ} if env is None else env
    default = Settings()
    user = env.get("HEADWAY_USER") or _NOT_TOKEN.sub("-", env.get("USER", ""))[:64]
    return Settings(
        nats_url=env.get("HEADWAY_NATS_URL") or default.nats_url,
        namespace=subjects.name(env.get("HEADWAY_NAMESPACE") or default.namespace, "namespace"),
        user=user.strip("-") or default.user,
        credentials=env.get("HEADWAY_CREDENTIALS", ""),
        tls_ca=env.get("HEADWAY_TLS_CA", ""),
        connect_timeout=_seconds(env, "HEADWAY_CONNECT_TIMEOUT", default.connect_timeout),
        request_timeout=_seconds(env, "HEADWAY_REQUEST_TIMEOUT", default.request_timeout),
    )


def _seconds(env: Mapping[str, str], variable: str, default: float) -> float:
    text = env.get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 3600:
        raise BadPolicy(variable, text, "seconds, above 0 and at most 3600")
    return value


def _without_secret(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"
