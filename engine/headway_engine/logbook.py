"""The verbs `logs` and `spans`: what attempts said, read from LOGS and SPANS for those who may not.

A direct get names its subject in the body, which permissions do not check: whoever may send one
reads the output of every namespace. So clients ask here, where the namespace is the broker's word.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import Raw

from headway import subjects
from headway.errors import NotReachable
from headway.history import before, history
from headway.ids import is_run_id
from headway.wire import decode, decoder
from headway.wire.runs import LogsAsk, LogsPage, SpansAsk, SpansPage, StoredLog, StoredSpans
from headway_engine.control import ApiRefused, Asker

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

PAGE_BYTES = 400 * 1024
"""About how many bytes a page holds; a chunk has at most some hundred thousand."""

_LOGS, _SPANS = decoder(LogsAsk), decoder(SpansAsk)


class Logbook:
    """Reads LOGS and SPANS on the engine's connection; needs no store."""

    def __init__(self, nc: NatsClient, site: str = "") -> None:
        """`site`: at a hub, whose copies are read; empty = the streams of this place."""
        self._nc = nc
        self._logs, self._spans = (
            (subjects.site_stream(subjects.LOGS, site), subjects.site_stream(subjects.SPANS, site))
            if site
            else (subjects.LOGS, subjects.SPANS)
        )

    async def logs(self, asker: Asker, body: bytes) -> LogsPage:
        """Log chunks after or before a sequence, oldest first.

        Raises ApiRefused (`unavailable` too).
        """
        ask = decode(_LOGS, body)
        check_run(ask.run)
        subject = subjects.stored_logs(asker.ns, ask.run, ask.attempt or None)
        if ask.before is not None:
            found, more = await self._last(self._logs, subject, ask.before, ask.n)
        else:
            found, more = await self._page(self._logs, subject, ask.after, ask.n)
        return LogsPage([StoredLog(*one) for one in found], more)

    async def spans(self, asker: Asker, body: bytes) -> SpansPage:
        """Chunks of spans after a sequence, oldest first; raises as `logs`."""
        ask = decode(_SPANS, body)
        check_run(ask.run)
        subject = subjects.stored_spans(asker.ns, ask.run, ask.attempt or None)
        found, more = await self._page(self._spans, subject, ask.after, ask.n)
        return SpansPage([StoredSpans(*one) for one in found], more)

    async def _page(
        self, stream: str, subject: str, after: int, n: int
    ) -> tuple[list[tuple[int, int, Raw]], bool]:
        """(sequence, epoch, body) of at most `n` messages, and whether there are more."""
        found: list[tuple[int, int, Raw]] = []
        size = 0
        read = history(self._nc, stream, subject, after + 1, batch=256, max_bytes=PAGE_BYTES)
        try:
            async with aclosing(read):
                async for m in read:
                    size += len(m.data)
                    if found and (size > PAGE_BYTES or len(found) >= n):
                        return found, True
                    found.append((m.seq, subjects.epoch_of_log(m.subject), Raw(m.data)))
        except NotReachable as e:
            raise _unavailable(stream, e) from None
        return found, False

    async def _last(
        self, stream: str, subject: str, below: int, n: int
    ) -> tuple[list[tuple[int, int, Raw]], bool]:
        """The same of the last messages below a sequence, and whether there are older ones."""
        try:
            found, more = await before(self._nc, stream, subject, below, n, max_bytes=PAGE_BYTES)
        except NotReachable as e:
            raise _unavailable(stream, e) from None
        return [(m.seq, subjects.epoch_of_log(m.subject), Raw(m.data)) for m in found], more


def _unavailable(stream: str, why: NotReachable) -> ApiRefused:
    return ApiRefused("unavailable", f"the stream {stream} cannot be read now: {why}")


def check_run(run: str) -> None:
    """Raises ApiRefused unless it is a run's id."""
    if not is_run_id(run):
        raise ApiRefused("bad_request", f"{run[:80]!r} is no run id")
