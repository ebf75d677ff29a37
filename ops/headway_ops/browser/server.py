"""textual-serve behind the door: the page, its files, and a websocket for each console."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from textual_serve.server import Server, to_int

from headway_ops.browser.door import Door, Place, new_token
from headway_ops.browser.page import FOCUS, headers, page
from headway_ops.browser.sessions import Session, cells

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("headway.serve")

CONSOLES = 16
"""Browsers at once: each has a process of its own, about 60 MB."""
MESSAGE = 1024 * 1024
"""Bytes of one message from a browser: a paste at most."""


class BrowserServer(Server):
    """Serves one command to browsers that know the token."""

    def __init__(self, where: Place, argv: Sequence[str], title: str) -> None:
        super().__init__(" ".join(argv), where.host, where.port, title)
        self._argv, self._where = argv, where
        self._door = Door(new_token(), where.public)
        self._runner: web.AppRunner | None = None
        self.sessions: set[Session] = set()

    async def open(self) -> str:
        """Listen; the address for a browser. Raises OSError."""
        # No access log: it would hold the token.
        self._runner = web.AppRunner(await self._make_app(), access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._where.host, self._where.port)
        await site.start()
        host = f"[{self._where.host}]" if ":" in self._where.host else self._where.host
        at = self._where.public or f"http://{host}:{self._runner.addresses[0][1]}"
        return f"{at}/{self._door.token}/"

    async def close(self) -> None:
        """End all consoles and stop listening; idempotent."""
        for session in list(self.sessions):
            await session.remote_close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _make_app(self) -> web.Application:
        """The base's routes under the token, behind the door."""
        app = web.Application(middlewares=[self._watch], client_max_size=1024)
        under = f"/{self._door.token}"
        app.add_routes([
            web.get(under, self._whole),
            web.get(f"{under}/", self.handle_index),
            web.get(f"{under}/focus.js", self._focus),
            web.get(f"{under}/ws", self.handle_websocket, name="websocket"),
            web.static(f"{under}/static", self.statics_path),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        socket = bool(request.headers.get("upgrade")) or request.path.endswith("/ws")
        refusal = self._door.refusal(
            request.path, request.headers.get("host", ""), request.headers.get("origin"),
            socket=socket,
        )  # fmt: skip
        if refusal is not None:
            log.info("refused with %d: %s", *refusal)
            return web.Response(status=refusal.status, text=f"{refusal.why}\n")
        return await handler(request)

    async def _whole(self, request: web.Request) -> web.Response:
        """The address without its last slash, from which the page would not find its files."""
        raise web.HTTPFound(f"/{self._door.token}/", headers=headers(request.headers["host"]))

    async def _focus(self, request: web.Request) -> web.Response:
        """The page's own script."""
        return web.Response(text=FOCUS, content_type="text/javascript")

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page with the terminal."""
        host = request.headers["host"]
        scheme = "wss" if self._door.secure(host) else "ws"
        socket = f"{scheme}://{host}/{self._door.token}/ws"
        text = page(self.title, socket, to_int(request.query.get("fontsize", ""), 16))
        return web.Response(text=text, content_type="text/html", headers=headers(host))

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One console for one browser, until either of them ends."""
        socket = web.WebSocketResponse(heartbeat=15, max_msg_size=MESSAGE)
        if len(self.sessions) >= CONSOLES:
            raise web.HTTPServiceUnavailable(text=f"{CONSOLES} consoles are open: close one\n")
        session = Session(
            self._argv, write_bytes=socket.send_bytes, write_str=socket.send_str,
            close=socket.close, download_manager=self.download_manager,
        )  # fmt: skip
        self.sessions.add(session)
        try:
            await socket.prepare(request)
            width, height = (
                cells(to_int(request.query.get(name, ""), default))
                for name, default in (("width", 80), ("height", 24))
            )
            await session.start(width, height)
            log.info("a console was opened: %d now", len(self.sessions))
            await self._process_messages(socket, session)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError) as e:
            log.warning("a browser sent what is no message of a console: %s", type(e).__name__)
        finally:
            # Not given up half-way when the server stops: no process stays behind.
            await asyncio.shield(self._end(session))
        return socket

    async def _end(self, session: Session) -> None:
        await session.stop()
        self.sessions.discard(session)
        log.info("a console has ended: %d now", len(self.sessions))
