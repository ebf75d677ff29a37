"""The agent's end of the channel: one directory and one listener, or one token, per runner.

Which socket a frame came from says which container sent it; the frame itself names no run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway_engine.agent.conns import HELLO_TIMEOUT, Conn, Endpoint, Peer, Rates
from headway_engine.runtime import Grant, Way

if TYPE_CHECKING:
    from headway.wire.frames import Hello
    from headway_engine.agent.certificate import Certificate

UNIX_PATH_LIMIT = 107
STRANGERS = 64
"""Connections that have not said who they are, at most (TCP)."""
SILENT = 4
"""The same for one runner's own socket."""
LOOPBACK = Way("127.0.0.1", "127.0.0.1")


class BadEndpoint(HeadwayError):
    """A channel endpoint cannot be made with these settings."""

    code = "bad_endpoint"


def is_loopback(host: str) -> bool:
    """Does this name or address stay on this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class UnixEndpoints:
    """A directory (0711) with a socket (0666) per runner; only its container sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: dict[str, asyncio.Server] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._silent: dict[str, set[Conn]] = {}
        """Connections that have not said hello, by endpoint."""

    async def start(self) -> None:
        """Make the folder of all channels; raises BadEndpoint if its path is too long."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        if len(str(self.folder / ("x" * 16) / "s.sock")) > UNIX_PATH_LIMIT:
            raise BadEndpoint(f"{self.folder} is too long for socket paths: choose a shorter one")

    def fits(self, grant: Grant) -> bool:
        """Does a runner with this grant dial here?"""
        return Path(grant.directory).parent == self.folder

    async def listen(
        self, name: str, peer: Peer, *, slots: int = 1, grant: Grant | None = None
    ) -> Endpoint:
        """Bind the socket; a stale one of an earlier agent is replaced, its directory kept."""
        folder = Path(grant.directory) if grant is not None else self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        path = folder / "s.sock"
        path.unlink(missing_ok=True)
        endpoint = Endpoint(self, name, Grant(directory=str(folder)), peer, Rates(slots))
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: Conn(self, endpoint), str(path))
        path.chmod(0o666)
        self._servers[name] = server
        self._endpoints[name] = endpoint
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """Stop listening and remove the directory."""
        self._endpoints.pop(endpoint.name, None)
        for conn in self._silent.pop(endpoint.name, set()):
            conn.abort()
        if server := self._servers.pop(endpoint.name, None):
            server.close()
        folder = Path(endpoint.grant.directory)
        (folder / "s.sock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def admit(self, conn: Conn) -> bool:
        """Only the container itself can connect, and not without end: each costs us a file."""
        if conn.endpoint is None:
            return False
        silent = self._silent.setdefault(conn.endpoint.name, set())
        if len(silent) >= SILENT:
            return False
        silent.add(conn)
        return True

    def dismiss(self, conn: Conn) -> None:
        """It said hello, or is gone."""
        if conn.endpoint is not None and (silent := self._silent.get(conn.endpoint.name)):
            silent.discard(conn)

    def identify(self, hello: Hello) -> Endpoint | None:
        """The socket says who it is."""
        return None

    def sweep(self) -> None:
        """An agent that was killed between this and the runner's start left a folder for nobody."""
        bound = {Path(e.grant.directory) for e in self._endpoints.values()}
        for folder in set(self.folder.iterdir()) - bound:
            with contextlib.suppress(OSError):
                (folder / "s.sock").unlink(missing_ok=True)
                folder.rmdir()

    async def close(self) -> None:
        """Stop listening; directories stay for an adopter."""
        for name, server in self._servers.items():
            server.close()
            if (endpoint := self._endpoints.get(name)) and endpoint.conn is not None:
                endpoint.cut()
        self._servers.clear()


class TcpEndpoints:
    """One listener; a one-time token per runner stands for "which socket".

    The token binds at the first connection; it is good again only after that connection's EOF and
    until the runner ends. Off loopback it travels under TLS, with `tls` pinned by the runners.
    """

    def __init__(
        self,
        way: Way = LOOPBACK,
        port: int = 0,
        tls: Certificate | None = None,
    ) -> None:
        self.way, self.port = way, port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tokens: dict[bytes, Endpoint] = {}
        self._strangers: set[Conn] = set()

    async def start(self) -> None:
        """Listen; raises BadEndpoint if the token would travel in the clear, or OSError."""
        if self._tls is None and not (is_loopback(self.way.bind) and is_loopback(self.way.dial)):
            raise BadEndpoint(
                f"the TCP channel on {self.way.bind} needs TLS: it is not a loopback address"
            )
        loop = asyncio.get_running_loop()
        context = None if self._tls is None else self._tls.context
        self._server = await loop.create_server(
            lambda: Conn(self, None), self.way.bind, self.port, ssl=context,
            ssl_handshake_timeout=None if context is None else HELLO_TIMEOUT,
        )  # fmt: skip
        self.port = int(self._server.sockets[0].getsockname()[1])

    def fits(self, grant: Grant) -> bool:
        """Does a runner with this grant dial here?"""
        return bool(grant.token) and grant.address == self._address

    @property
    def _address(self) -> str:
        host = f"[{self.way.dial}]" if ":" in self.way.dial else self.way.dial
        return f"{host}:{self.port}"

    async def listen(
        self, name: str, peer: Peer, *, slots: int = 1, grant: Grant | None = None
    ) -> Endpoint:
        """Make a token; with `grant`, take the one of a runner that lives."""
        token = grant.token if grant is not None else secrets.token_urlsafe(32)
        made = Grant(
            address=self._address,
            token=token,
            certificate="" if self._tls is None else self._tls.pem,
            network=self.way.network,
        )
        endpoint = Endpoint(self, name, made, peer, Rates(slots))
        self._tokens[_digest(token)] = endpoint
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """The token is worth nothing from now on."""
        self._tokens.pop(_digest(endpoint.grant.token), None)

    def admit(self, conn: Conn) -> bool:
        """A bounded number of connections may be unknown at once."""
        if len(self._strangers) >= STRANGERS:
            return False
        self._strangers.add(conn)
        return True

    def dismiss(self, conn: Conn) -> None:
        """It is known now, or gone."""
        self._strangers.discard(conn)

    def identify(self, hello: Hello) -> Endpoint | None:
        """By the token's digest: no comparison that leaks how much of a guess was right."""
        endpoint = self._tokens.get(_digest(hello.token))
        if endpoint and hmac.compare_digest(endpoint.grant.token, hello.token):
            return endpoint
        return None

    def sweep(self) -> None:
        """There is nothing."""

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for endpoint in list(self._tokens.values()):
            if endpoint.conn is not None:
                endpoint.cut()
        for conn in list(self._strangers):
            conn.abort()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
