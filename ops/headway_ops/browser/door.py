"""Who may come in: decisions about one request, and about where to listen. Pure.

Whoever holds the token holds the rights of the console's NATS user. The token is a part of the
path, not a cookie: cookies of 127.0.0.1 are sent to every port of this machine, a task's own little
web server included. Sites that a browser has open elsewhere are kept out by Host (a name of theirs
that they point at 127.0.0.1) and, at the websocket, by Origin.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

TOKEN_BYTES = 32
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class BadAddress(ValueError):
    """Where to listen, or the address in front, cannot be used; the text says why."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.todo = todo


class Refusal(NamedTuple):
    """What is answered instead."""

    status: int
    why: str


def new_token() -> str:
    """256 random bits that a path can hold."""
    return secrets.token_urlsafe(TOKEN_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen, and the address that browsers see if it is another one."""

    host: str
    port: int
    """0 = any that is free."""
    public: str = ""
    """`https://...` of a TLS proxy in front; empty = there is none."""


def place(at: str, public: str) -> Place:
    """From `[HOST:]PORT` and the address of the proxy in front; raises BadAddress.

    Beyond this machine only behind TLS: keys, payloads and the token itself would travel readable.
    """
    host, port = _host_port(at)
    front = _front(public)
    if host not in LOOPBACK and not _is_loopback(host) and not front:
        raise BadAddress(
            f"{host} is seen from other machines, and this speaks plain HTTP: the token and all"
            " that is shown could be read and used on the way",
            f"stay at 127.0.0.1 and use `ssh -L {port or 8484}:127.0.0.1:{port or 8484}`, or put a"
            " proxy with TLS in front and name it: --serve-url https://NAME",
        )
    return Place(host, port, front)


def _host_port(at: str) -> tuple[str, int]:
    host, colon, port = at.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else ""
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (colon and not host):
        raise BadAddress(f"--serve-at {at!r}", "[HOST:]PORT, such as 8484 or 127.0.0.1:8484")
    return host or "127.0.0.1", int(port)


def _front(public: str) -> str:
    if not public:
        return ""
    try:
        parts = urlsplit(public)
        good = parts.scheme == "https" and parts.hostname and parts.path in ("", "/")
        _ = parts.port
    except ValueError:
        good = False
    if not good or urlsplit(public).query or "@" in urlsplit(public).netloc:
        raise BadAddress(
            f"--serve-url {public!r}", "https://NAME or https://NAME:PORT, with TLS and no path"
        )
    return f"https://{urlsplit(public).netloc.lower()}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Door:
    """The rules of one server."""

    token: str
    public: str = ""
    """See Place."""

    def refusal(self, path: str, host: str, origin: str | None, *, socket: bool) -> Refusal | None:
        """Why a request is not served; None = it is. `socket`: it asks for the websocket."""
        if not self._known_host(host):
            return Refusal(421, "this console is not served under that name")
        given = path.split("/", 2)[1] if path.startswith("/") else ""
        # As bytes: of texts beyond ASCII it raises.
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return Refusal(404, "open the whole address that `headway tui --serve` has printed")
        if socket and origin not in self._origins(host):
            return Refusal(403, "another site may not open this console")
        return None

    def secure(self, host: str) -> bool:
        """Is that the proxy's name: do browsers come by TLS?"""
        return bool(self.public) and host.lower() == urlsplit(self.public).netloc

    def _known_host(self, host: str) -> bool:
        """The proxy's name; and loopback by any port: ssh may forward it under another one."""
        if self.secure(host):
            return True
        try:
            return urlsplit(f"//{host.lower()}").hostname in LOOPBACK
        except ValueError:
            return False

    def _origins(self, host: str) -> frozenset[str]:
        """A browser always says its origin there."""
        return frozenset({f"http://{host.lower()}", self.public} - {""})
