"""nats-py whose connections outlive what it ends them by, and end when they are told to.

Each method here mends one thing that was seen in nats-py 2.16; the comments say which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, cast

from headway.natspy import NatsClient, nats_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("headway.bus")

CLOSE_WITHIN = 2.0
"""Seconds that the end of a connection may take before it is cut off."""
TRY_AGAIN = 1.0
"""Seconds of pause after an attempt to reconnect that ended in no known way."""
ASK_AGAIN = 1.0
"""Seconds to wait for the answer to a PING before the next one."""


class SteadyClient(NatsClient):
    """A NATS connection that goes on until `close`, and then is gone soon."""

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        try:
            await super()._send_ping(future)
        except RuntimeError:
            # uvloop, on a connection that has just broken and is not known to be: no pong comes.
            self._pongs.pop()
            if future is not None and not future.done():
                future.set_exception(ConnectionResetError("the connection is broken"))

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        try:
            return await super()._flush_pending(force_flush)
        except RuntimeError:
            # The same, where the flusher has ended by it already and nats-py writes in the name of
            # whoever publishes: as without a connection, it is kept for the next one.
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

    async def _process_pong(self) -> None:
        # nats-py would end its reader at an answer that nobody waits for any more (a flush that was
        # cancelled), and the connection with it.
        pongs = cast("list[asyncio.Future[bool]]", self._pongs)
        if pongs and pongs[0].done():
            pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    def _build_message(  # pyright: ignore[reportIncompatibleMethodOverride] its caller takes None
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            # Not the sender's to break our connection with. nats-py skips what is no message.
            log.warning("a message whose subject is no text is dropped: %r", bytes(subject)[:200])
            return None

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for good over whatever the server says to a connection that stood: the
        # users were changed, a JWT has ended, a message was too large. Here it begins anew; what
        # is read when it already does changes nothing.
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
        elif not self.is_closed:
            error = nats_errors.Error(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)

    async def _attempt_reconnect(self) -> None:
        # nats-py first ends the old connection politely: with TLS over a dead link that is 30 s.
        self._cut()
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception as e:
                # It expects broken links and refusals only; by anything else (uvloop raises
                # RuntimeError on a socket that has just closed) its task would end, and nobody
                # would reconnect any more.
                await self._error_cb(e)
                self._status = NatsClient.RECONNECTING
                await asyncio.sleep(TRY_AGAIN)

    async def _select_next_server(self) -> None:
        # A try that fails after its handshake leaves its reader and pinger behind: they would read
        # from the next try's socket, and end the next try; and its socket stays open.
        self._cut()
        me = cast("Any", self)
        left: Iterable[asyncio.Task[None] | None] = (
            me._reading_task, me._ping_interval_task, me._flusher_task,
        )  # fmt: skip
        if running := [t for t in left if t is not None and not t.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CLOSE_WITHIN)
        await super()._select_next_server()

    async def close(self) -> None:
        """End it. That the server was gone before is no error: nats-py raises it.

        In the middle of a TLS handshake nats-py would wait for ever; here for `CLOSE_WITHIN`.
        """
        if not self.is_connected:
            # nats-py would write what waits to the broken socket, and stop half-way.
            me = cast("Any", self)
            me._pending, me._pending_data_size = [], 0
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await super().close()
        except (OSError, TimeoutError) as e:
            log.debug("nats: closing: %s: %s", type(e).__name__, e)
            self._cut()

    def _cut(self) -> None:
        """Break the socket off, whatever state it is in."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            # asyncio's TLS transport forgets what to cut once it was closed twice.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()


async def settled(nc: NatsClient) -> None:
    """Return when the server knows all that was written so far, subscriptions above all.

    A PING that went down with its connection is never answered (nats-py's `flush` fails after
    10 s): here it is asked anew, over as many connections as it takes. Raises
    ConnectionClosedError once this one is closed for good.
    """
    while True:
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ASK_AGAIN):
                return await nc.flush()
        except nats_errors.ConnectionClosedError:
            raise
        except (OSError, TimeoutError, nats_errors.Error) as e:
            log.debug("nats: no answer to a ping: %s: %s", type(e).__name__, e)
        # What fails at once is not asked again at once.
        await asyncio.sleep(max(0.0, begun + ASK_AGAIN - asyncio.get_running_loop().time()))
