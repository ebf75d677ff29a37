"""The bucket `headway-settings`: what is no run. All of it is in memory, followed like RUNS.

Each key is written by compare-and-set on its own last sequence. A dropped key is an empty value
that goes by itself after a day, so that every engine sees it go.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from headway import fencing, subjects
from headway.bus import WrongLast
from headway.errors import HeadwayError, TooLarge
from headway.history import history, next_after
from headway_engine.store import StoreDown
from headway_engine.store.edge.journal import ALL, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec
    from nats.aio.client import Client as NatsClient

STREAM = f"KV_{subjects.SETTINGS_BUCKET}"
_PREFIX = f"$KV.{subjects.SETTINGS_BUCKET}."
ROOM = 8192
"""Bytes of a message that headers and subject may take."""
_SAID = {"deploy": "the deployment", "current": "the table of current versions"}
GONE_AFTER = 86400
"""Seconds that a dropped key's empty value stays."""


class Row(NamedTuple):
    """A key's value."""

    seq: int
    body: bytes


class Settings:
    """The bucket, for one engine."""

    def __init__(self, nc: NatsClient) -> None:
        self._nc = nc
        self.rows: dict[str, Row] = {}
        self._dropped: dict[str, int] = {}
        self._values: dict[str, tuple[int, Any]] = {}
        self._watermark = 0
        self._ahead: set[int] = set()
        self._asked = self._read = 0
        self._looked_at = float("-inf")
        self._reading = asyncio.Lock()
        self.timeout = TIMEOUT
        self.version = 0
        """Grows with every change of any key: for what is derived from them."""

    def seq(self, key: str) -> int:
        """What the next write of this key expects."""
        row = self.rows.get(key)
        return self._dropped.get(key, 0) if row is None else row.seq

    def under(self, prefix: str) -> Iterator[tuple[str, Row]]:
        """Keys that begin so, in their order."""
        return iter(sorted((k, row) for k, row in self.rows.items() if k.startswith(prefix)))

    def value(self, key: str, kind: msgspec.json.Decoder[Any]) -> Any:
        """The decoded value, or None; decoded once, so it must not be changed in place."""
        row = self.rows.get(key)
        if row is None:
            return None
        known = self._values.get(key)
        if known is None or known[0] != row.seq:
            known = self._values[key] = (row.seq, kind.decode(row.body))
        return known[1]

    async def put(self, key: str, body: bytes, seq: int, ttl: float | None = None) -> int:
        """Write the key if `seq` is its last sequence (0: it is not there); the new one.

        Raises WrongLast (then all that is newer has been read), TooLarge, or StoreDown.
        """
        headers = {} if ttl is None else {"Nats-TTL": str(max(1, round(ttl)))}
        return await self._write(key, body, seq, headers)

    async def drop(self, key: str, seq: int) -> None:
        """Remove the key; raises as `put`."""
        await self._write(key, b"", seq, {"KV-Operation": "DEL", "Nats-TTL": str(GONE_AFTER)})

    async def _write(self, key: str, body: bytes, seq: int, headers: dict[str, str]) -> int:
        subject = _PREFIX + key
        if len(body) > self._nc.max_payload - ROOM:
            what = key.partition(".")[0]
            raise TooLarge(
                _SAID.get(what, what),
                len(body),
                self._nc.max_payload - ROOM,
                "at the edge it is one message: deploy fewer tasks at once, or raise `max_payload`"
                " of nats-server",
            )
        change = fencing.Change(subject, seq, (fencing.Message(subject, body, headers),))
        try:
            new = await fencing.append(self._nc, STREAM, change, timeout=self.timeout)
        except WrongLast as e:
            await self.fresh()
            if e.last == 0 and self.seq(key) == seq:
                self._forget(key)  # it has gone by itself
            raise
        except HeadwayError as e:
            raise StoreDown(f"the settings cannot be written: {e}") from None
        self._ahead.add(new)
        self._take(key, new, body)
        while self._watermark + 1 in self._ahead:
            self._watermark += 1
            self._ahead.discard(self._watermark)
        return new

    def _forget(self, key: str) -> None:
        self.rows.pop(key, None)
        self._dropped.pop(key, None)
        self.version += 1

    def _take(self, key: str, seq: int, body: bytes) -> None:
        if seq <= self.seq(key):
            return
        self.version += 1
        if body:
            self.rows[key] = Row(seq, body)
            self._dropped.pop(key, None)
        else:
            self.rows.pop(key, None)
            self._values.pop(key, None)
            self._dropped[key] = seq

    async def fresh(self) -> bool:
        """See all that was there when this was called; True if there was anything new."""
        self._asked += 1
        ticket = self._asked
        async with self._reading:
            if self._read >= ticket:
                return True
            self._read, begun = self._asked, time.monotonic()
            try:
                found = await self._catch_up()
            except HeadwayError as e:
                raise StoreDown(f"the settings cannot be read: {e}") from None
            self._looked_at = begun
            return found

    async def lately(self, seconds: float) -> None:
        """See all that was there so many seconds ago; a look that is under way will do."""
        since = time.monotonic() - seconds
        if self._looked_at > since:
            return
        async with self._reading:
            pass
        if self._looked_at <= since:
            await self.fresh()

    async def _catch_up(self) -> bool:
        found = await next_after(self._nc, STREAM, ALL, self._watermark, timeout=self.timeout)
        if found is None:
            return False
        async for stored in history(self._nc, STREAM, ALL, found.seq, timeout=self.timeout):
            self._take(stored.subject.removeprefix(_PREFIX), stored.seq, stored.data)
            self._watermark = stored.seq
        self._ahead = {seq for seq in self._ahead if seq > self._watermark}
        return True
