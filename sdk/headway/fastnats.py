"""nats-py with shorter ways for what every run passes: requests, writes, heard messages.

nats-py spends a task switch on each message it hears, another one on each write, and three loop
turns with four futures on each request. Here a message is heard where it was parsed, what was
published in one turn of the loop is written at its end, and a request is one future. Everything
else, reconnecting above all, is nats-py's own (`steadynats.py` mends it).
"""

# ruff: noqa: ASYNC109 - the signature is nats-py's.
from __future__ import annotations

import asyncio
import itertools
import logging
import re
from typing import TYPE_CHECKING, Any, cast

from headway.natspy import nats_errors
from headway.steadynats import SteadyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger("headway.bus")

BUSY = 64 * 1024
"""Bytes that wait for the socket from which on nats-py's flusher writes, which waits for room."""


_SPACE = re.compile(rb"[\s\x1c-\x1f]")


_LINE = re.compile(rb"^([^:\r\n]*):([^\r\n]*)", re.MULTILINE)


_names: dict[bytes, str] = {}
"""Names of headers that were seen before; a few dozen in all, unless somebody makes them up."""


def _header_name(name: bytes) -> str:
    """The name as text; empty if it is none."""
    key = name.strip()
    if not key.isascii() or _SPACE.search(key) is not None:
        return ""
    if len(_names) < 1000:
        _names[name] = key.decode()
    return key.decode()


class _Ear:
    """What nats-py takes for the future of a subscription: each message goes straight on."""

    def __init__(self, hear: Callable[[Msg], None]) -> None:
        self._hear = hear

    def cancelled(self) -> bool:
        """Never: it listens as long as its subscription stands."""
        return False

    def set_result(self, msg: Msg) -> None:
        """A message came. The connection's reader must outlive whatever goes wrong here."""
        try:
            self._hear(msg)
        except Exception:
            log.exception("a message could not be handled: subject=%s", msg.subject)


class FastClient(SteadyClient):
    """A NATS connection with cheap requests, writes and listeners."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[str, asyncio.Future[Msg]] = {}
        self._asked_on: dict[str, str] = {}
        self._answer_prefix = ""
        self._numbers = itertools.count(1)
        self._write_due = False

    async def listen(self, subject: str, hear: Callable[[Msg], None]) -> Subscription:
        """Subscribe; `hear` is called for each message as it is parsed, and must not wait.

        Messages that came together are heard one after the other before any task goes on. What it
        raises is logged. There is no limit to what waits: it must only book.
        """
        return await self.subscribe(subject, future=cast("Any", _Ear(hear)))

    async def _request_new_style(
        self,
        subject: str,
        payload: bytes,
        timeout: float = 1,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        if self.is_draining_pubs:
            raise nats_errors.ConnectionDrainingError
        if not self._answer_prefix:
            # Not to be guessed, as nats-py's own: who knows it could answer for others.
            self._answer_prefix = f"{self.new_inbox()}."
            await self.listen(f"{self._answer_prefix}*", self._on_answer)
        inbox = f"{self._answer_prefix}{next(self._numbers)}"
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[inbox] = answer
        self._asked_on[inbox] = subject
        try:
            await self.publish(subject, payload, reply=inbox, headers=headers)
            # Not wait_for: up to Python 3.11 it drops a cancellation that comes with the answer:
            # a loop that is to end would go on.
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise nats_errors.TimeoutError from None
        finally:
            del self._asked[inbox], self._asked_on[inbox]

    def refuse(self, subject: str, error: Callable[[str], Exception]) -> None:
        """End all requests on a subject, in any case of its letters (nats-py lowers errors)."""
        for inbox, asked in self._asked_on.items():
            answer = self._asked[inbox]
            if asked.lower() == subject.lower() and not answer.done():
                answer.set_exception(error(asked))

    def _on_answer(self, msg: Msg) -> None:
        answer = self._asked.get(msg.subject)
        if answer is not None and not answer.done():
            answer.set_result(msg)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # As nats-py's, which looks at each character of each name: half the time of a long read.
        found: dict[str, str] = {}
        for name, value in _LINE.findall(raw):
            key = _names.get(name) or _header_name(name)
            if key:
                found[key] = value.strip().decode("utf-8", "replace")
        return found

    async def publish_many(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish each (subject, body), in order, for little more than one costs.

        The subjects must be well-formed: they are not looked at. Raises what `publish` raises.
        """
        if not self.is_connected or self.is_draining_pubs:
            for subject, body in messages:
                await self.publish(subject, body)
            return
        for subject, body in messages:
            if len(body) > self.max_payload:
                raise nats_errors.MaxPayloadError
            await self._send_command(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(body), body))
            self.stats["out_msgs"] += 1
            self.stats["out_bytes"] += len(body)
        await self._flush_pending()

    def publish_now(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Publish each (subject, body) without waiting for a turn of the loop.

        False, and nothing was done, if one would have to wait or could not be sent. The subjects
        are not looked at, as in `publish_many`.
        """
        me = cast("Any", self)
        size = sum(len(body) for _, body in messages)
        if (
            not self.is_connected
            or self.is_draining_pubs
            or me._pending_data_size + size > BUSY
            or size > self.max_payload
        ):
            return False
        for subject, body in messages:
            command = b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(body), body)
            me._pending.append(command)
            me._pending_data_size += len(command)
        self.stats["out_msgs"] += len(messages)
        self.stats["out_bytes"] += size
        self._write()
        return True

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        me = cast("Any", self)
        queue, flusher = me._flush_queue, me._flusher_task
        awake = queue is not None and flusher is not None and not flusher.done()
        if force_flush or not awake or not self.is_connected:
            return await super()._flush_pending(force_flush)
        if not self._write_due:
            self._write_due = True
            asyncio.get_running_loop().call_soon(self._write)
        return None

    def _write(self) -> None:
        """Write what was published in this turn; the flusher does it where one has to wait."""
        self._write_due = False
        me = cast("Any", self)
        if not me._pending_data_size or not self.is_connected:
            return  # written already, or kept for the reconnect
        try:
            transport = me._transport._io_writer.transport
            if transport.get_write_buffer_size() <= BUSY and not transport.is_closing():
                transport.writelines(me._pending)
                me._pending, me._pending_data_size = [], 0
                return
        except (AttributeError, OSError, RuntimeError):
            pass  # no plain socket, or a broken one: the flusher knows what to do
        # One entry that waits is enough: it writes everything that is there when it is its turn.
        if me._flush_queue.empty():
            me._flush_queue.put_nowait(asyncio.get_running_loop().create_future())
