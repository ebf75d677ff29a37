"""Who waits for the end of a run: pushed, and asked for where a push may have been lost.

Subscribe, then read, then one batched status request per client, at 5 s growing to 60 s per run,
and for all of them after a reconnect (DECISIONS E3).
"""

# ruff: noqa: ASYNC109 - the caller's `result(timeout=...)` ends in an error that names the run.
from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from headway import ids, subjects
from headway.errors import HeadwayError, NoSuchRun, Refused, refusal_of
from headway.states import TERMINAL
from headway.wire import Malformed, decode, events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from headway.bus import Connection
    from headway.enqueues import Outbox, RunRecord
    from headway.wire.enqueue import Ended
    from headway.wire.runs import ResultsAnswer

log = logging.getLogger("headway.client")

POLL_FIRST = 5.0
POLL_MAX = 60.0
RETRY_FIRST, RETRY_MAX = 0.25, 10.0
"""Seconds until the next request after one that nobody answered; doubled each time."""
ASK_LIMIT = 1000
YOUNG = 60.0
"""Seconds for which an id that the engine does not know may still be on its way to it."""

_ENDED = {s.value for s in TERMINAL} | {s.status for s in TERMINAL}


class Results:
    """The waiting callers of one client."""

    def __init__(
        self,
        nc: Connection,
        ns: str,
        outbox: Outbox,
        ask: Callable[[list[str]], Awaitable[ResultsAnswer]],
    ) -> None:
        self._nc, self._ns, self._outbox, self._ask = nc, ns, outbox, ask
        self._waiting: dict[str, RunRecord] = {}
        self._wake = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._unhook = nc.when_back(self._all_due)
        self.poll_first, self.poll_max = POLL_FIRST, POLL_MAX
        self._retry = RETRY_FIRST

    async def wait(self, record: RunRecord, timeout: float | None) -> Ended:
        """The run's end. Raises TimeoutError, NoSuchRun, or what intake refused it with."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            if record.winner:
                record = self._outbox.record(record.winner)
            if record.refusal is not None:
                raise refusal_of(record.refusal.code, record.refusal.reason)
            if record.ended is not None:
                return record.ended
            rest = None if deadline is None else max(0.0, deadline - loop.time())
            if not await self._happens(record, rest):
                raise TimeoutError(f"run {record.id} has not ended within {timeout:g} s")

    async def _happens(self, record: RunRecord, rest: float | None) -> bool:
        """Wait until something is known of the run: True, or False after `rest` seconds."""
        future = await self._enter(record)
        try:
            await asyncio.wait((future,), timeout=rest)
            if future.done():
                future.result()
            return future.done()
        finally:
            record.waiters -= 1
            if not record.waiters:
                await self._leave(record)

    async def _enter(self, record: RunRecord) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        record.waiters += 1
        if record.future is None or record.future.done():
            record.future = loop.create_future()
        future = record.future
        if record.waiters == 1:
            self._waiting[record.id] = record
            record.interval = self.poll_first
            record.next_at = loop.time() + record.interval
            if not record.own:
                # Subscribed first, read next: nothing can fall between.
                record.unwatch = loop.create_task(self._watch(record))
                record.next_at = loop.time()
        if self._poller is None or self._poller.done():
            self._poller = loop.create_task(self._poll())
        elif record.next_at <= loop.time():
            self._wake.set()
        return future

    async def _leave(self, record: RunRecord) -> None:
        self._waiting.pop(record.id, None)
        if record.unwatch is not None:
            record.unwatch.cancel()
            record.unwatch = None

    async def _watch(self, record: RunRecord) -> None:
        """Ask as soon as a watched run's end is published."""

        async def on_event(msg: Msg) -> None:
            try:
                body = decode(events.RUN_EVENTS, msg.data)
            except Malformed:
                return
            if any(e.target in _ENDED for e in body.events):
                record.next_at = 0.0
                self._wake.set()

        sub: Subscription | None = None
        try:
            sub = await self._nc.subscribe(subjects.live_event(self._ns, record.id), cb=on_event)
            await asyncio.Event().wait()
        finally:
            if sub is not None and not self._nc.is_closed:
                await sub.unsubscribe()

    def on_ended(self, ended: Ended) -> None:
        """The engine says that a run has ended."""
        record = self._outbox.records.get(ended.run)
        if record is None or record.ended is not None:
            return
        record.ended = ended
        self._tell(record)

    def on_known(self, run: str) -> None:
        """Something else became known of a run (its winner, its refusal): let its waiters look."""
        record = self._outbox.records.get(run)
        if record is not None and (record.winner or record.refusal is not None):
            self._tell(record)

    def _tell(self, record: RunRecord) -> None:
        if record.future is not None and not record.future.done():
            record.future.set_result(None)

    def _fail(self, record: RunRecord, error: HeadwayError) -> None:
        if record.future is not None and not record.future.done():
            record.future.set_exception(error)

    def _all_due(self) -> None:
        """After a reconnect: what was pushed meanwhile is gone."""
        for record in self._waiting.values():
            record.next_at = 0.0
        self._wake.set()

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            self._wake.clear()
            now = loop.time()
            due = [r for r in self._waiting.values() if r.next_at <= now]
            for i in range(0, len(due), ASK_LIMIT):
                await self._ask_for(due[i : i + ASK_LIMIT])
            nearest = min((r.next_at for r in self._waiting.values()), default=now)
            try:
                # Those that are due soon after join the same request.
                async with asyncio.timeout(max(0.02, nearest - loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _ask_for(self, records: list[RunRecord]) -> None:
        now = asyncio.get_running_loop().time()
        for r in records:
            # Spread, so that many clients do not ask in step.
            r.next_at = now + r.interval * random.uniform(0.9, 1.1)
            r.interval = min(self.poll_max, r.interval * 2)
        # One that is recorded while the answer is under way may be unknown to that answer.
        known = {r.id for r in records if r.state in ("recorded", "duplicate")}
        try:
            answer = await self._ask([r.id for r in records])
        except HeadwayError as e:
            # After an outage the engine may be back a moment later than we are.
            log.info("asking for %d results: %s", len(records), e)
            soon = asyncio.get_running_loop().time() + self._retry * random.uniform(0.9, 1.1)
            self._retry = min(RETRY_MAX, 2 * self._retry)
            for r in records:
                r.next_at = min(r.next_at, soon)
            return
        self._retry = RETRY_FIRST
        for ended in answer.ended:
            self.on_ended(ended)
        for r in records:
            if winner := answer.aliases.get(r.id):
                r.winner = winner
                self._tell(r)
            elif refusal := answer.refused.get(r.id):
                r.refusal = refusal
                self._tell(r)
            elif (status := answer.others.get(r.id)) in _ENDED:
                r.next_at = 0.0  # its result did not fit into this answer
            elif status == "rejected":
                self._fail(r, Refused(f"run {r.id} was refused by intake", "rejected"))
            elif status == "unknown" and r.own and r.id in known:
                self._fail(r, NoSuchRun(
                    f"run {r.id} was {r.state}, and the store does not have it: the run was pruned,"
                    " or the database was set back to an older copy; enqueue it again if it is"
                    " still wanted", "not_found",
                ))  # fmt: skip
            elif status == "unknown" and not r.own and _old(r.id):
                self._fail(r, NoSuchRun(f"no run {r.id}", "not_found"))

    async def close(self) -> None:
        """Stop asking; those who still wait are cancelled."""
        self._unhook()
        tasks = [t for t in (self._poller, *(r.unwatch for r in self._waiting.values())) if t]
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for r in list(self._waiting.values()):
            if r.future is not None:
                r.future.cancel()


def _old(run: str) -> bool:
    return ids.is_run_id(run) and ids.time_of(run) / 1000 < time.time() - YOUNG
