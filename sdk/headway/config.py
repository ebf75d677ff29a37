"""Settings of a client, from HEADWAY_* variables, with defaults that work on one machine.

`headway up` prints the variables that lead to its servers. No setting holds a secret in the clear:
credentials are a path to a file, and a password in the URL is left out of every message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headway import contexts, discovery, subjects
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
    context: str = ""
    """HEADWAY_CONTEXT: the named connection that said so (`headway.contexts`)."""
    protect: bool = False
    """Its `protect`: the console has counts and names typed before it changes something."""
    readonly: bool = False
    """Its `readonly`: requests that change something are not sent."""

    @property
    def urls(self) -> list[str]:
        """The servers to try."""
        return [u.strip() for u in self.nats_url.split(",") if u.strip()]

    @property
    def shown_url(self) -> str:
        """The servers without user and password, for messages."""
        return ", ".join(_without_secret(u) for u in self.urls)


def from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from HEADWAY_* variables; raises BadName, BadPolicy, BadContext: what is wrong.

    Without `env`, the context that HEADWAY_CONTEXT names stands in for variables that are not set;
    where it names none, what `headway up` wrote near the working directory.
    """
    if env is not None:
        return _settings(env)
    name = os.environ.get(contexts.VARIABLE, "")
    return of_context(name) if name else _settings({**discovery.variables(), **os.environ})


def of_context(name: str) -> Settings:
    """Settings of a named connection; other variables say more than it. Raises as above.

    A server in the environment that is not the context's is refused: one of them is a mistake.
    """
    context = contexts.named(name)
    given = os.environ.get("HEADWAY_NATS_URL", "")
    if given and given != context.nats_url:
        raise contexts.BadContext(
            f"the context {name!r} and HEADWAY_NATS_URL name different servers: unset one of them"
        )
    found = _settings({**context.variables(), **{k: v for k, v in os.environ.items() if v}})
    return replace(found, context=name, protect=context.protect, readonly=context.readonly)


def _settings(env: Mapping[str, str]) -> Settings:
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
