"""The verb `logs`: a run's stored output, read from LOGS for those who may not read streams.

A direct get names its subject in the body, which permissions do not check: whoever may send one
reads the output of every namespace. So clients ask here, where the namespace is the broker's word.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.errors import NotReachable
from headway.history import history
from headway.ids import is_run_id
from headway.wire import decode, decoder
from headway.wire.commands import LogsAsk, LogsPage, StoredLog
from headway_engine.control import ApiRefused, Asker

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

PAGE_BYTES = 400 * 1024
"""About how many bytes of output a page holds; a chunk has at most some ten thousand."""

_ASK = decoder(LogsAsk)


class Logbook:
    """Reads LOGS on the engine's connection; needs no store."""

    def __init__(self, nc: NatsClient) -> None:
        self._nc = nc

    async def logs(self, asker: Asker, body: bytes) -> LogsPage:
        """The chunks after a sequence, oldest first. Raises ApiRefused (`unavailable` too)."""
        ask = decode(_ASK, body)
        if not is_run_id(ask.run):
            raise ApiRefused("bad_request", f"{ask.run[:80]!r} is no run id")
        found, size = LogsPage([]), 0
        subject = subjects.stored_logs(asker.ns, ask.run, ask.attempt or None)
        read = history(
            self._nc, subjects.LOGS, subject, ask.after + 1, batch=256, max_bytes=PAGE_BYTES
        )
        try:
            async with aclosing(read):
                async for m in read:
                    size += len(m.data)
                    if found.logs and (size > PAGE_BYTES or len(found.logs) >= ask.n):
                        found.more = True
                        break
                    epoch = subjects.epoch_of_log(m.subject)
                    found.logs.append(StoredLog(m.seq, epoch, Raw(m.data)))
        except NotReachable as e:
            raise ApiRefused("unavailable", f"the stream LOGS cannot be read now: {e}") from None
        return found
