"""What the list of runs reads: pages by request, then events by push; again after each reconnect.

Subscribed and buffering before the engine is asked, joined by the number that each event carries.
A page may have few rows, or none, and still be followed by others: its `next` says where it goes
on. One request is under way at a time; another query drops it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal, TypeVar

from headway import subjects
from headway.errors import HeadwayError
from headway.query import parse
from headway.wire import Malformed, decode
from headway.wire.events import RUN_EVENTS, RUNS_DIGEST
from headway.wire.runs import RunsPage, RunsQuery
from headway_tui.query import possible

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nats.aio.msg import Msg

    from headway.client import Client
    from headway_tui.link import Link
    from headway_tui.model.rows import RunsView

PAGE = 200
HEAVY = 5000.0
"""Events a second above which digests are heard in place of them."""
LIGHT = 2500.0
"""Events a second below which they are heard again, once that has lasted for `CALM` seconds."""
CALM = 3.0
LATE = 2.0
"""Seconds without a digest after which an engine's rate is none."""
GAP_AFTER = 2.0
"""Seconds for which a missing event may still arrive by itself."""
AGAIN = 1.0
Sort = Literal["newest", "oldest"]
_TURNED: dict[Sort, Sort] = {"newest": "oldest", "oldest": "newest"}
T = TypeVar("T")


class _Dropped(Exception):
    """Another query was asked for meanwhile."""


class RunsFeed:
    """Keeps a RunsView true."""

    def __init__(self, link: Link, view: RunsView, changed: Callable[[], None]) -> None:
        self._link, self._view, self._changed = link, view, changed
        self.text = ""
        self.ids: tuple[str, ...] = ()
        """If there are any: of these runs alone."""
        self.sort: Sort = "newest"
        self.trouble = ""
        self.loading = True
        """The first page of this query is not here yet."""
        self.more = False
        """There are rows below those from the top."""
        self.looked = ""
        """While pages have few rows: the id down to which the engine has looked."""
        self.total: int | None = None
        self.estimated = False
        self.counts: dict[str, int] = {}
        """Live runs of the namespace by status, whatever the query."""
        self.answers = 0
        """First pages so far: another number means another list."""
        self._need = PAGE
        self._next = ""
        self._above: str | None = None
        """Where the rows of the bottom go on upwards; None = nobody went there."""
        self._bottom_need = 0
        self._moved = asyncio.Event()
        self._anew = asyncio.Event()
        self._heard_first = asyncio.Event()
        self._life = 0
        self._gap_at = 0.0
        self.digest = False
        """Too much happens for every event: digests say which runs moved, rows are asked for."""
        self.rate = 0.0
        """Events a second in the namespace, as heard last."""
        self._stale: dict[str, None] = {}
        """Rows that a digest named since they were read."""
        self._elsewhere = False
        """A digest named runs that are not in the list."""
        self._rates: dict[str, tuple[float, float]] = {}
        """While digests are heard: by engine its rate, and when it said so."""

    # --- what is wanted

    def ask(
        self,
        text: str | None = None,
        sort: Sort | None = None,
        *,
        ids: tuple[str, ...] | None = None,
    ) -> None:
        """Read the first page anew, with this query, order and ids if they are given."""
        self.ids = self.ids if ids is None else ids
        self.text = self.text if text is None else text
        self.sort = sort or self.sort
        query = parse(self.text)
        if self.ids:
            self._view.interest = lambda body: body.run in self.ids and possible(query, body)
        else:
            self._view.interest = (lambda body: possible(query, body)) if query.terms else None
        self.loading, self._need = True, 1
        self._anew.set()
        self._moved.set()

    def want(self, rows: int) -> None:
        """So many rows from the top are wanted."""
        if rows > self._need:
            self._need = rows
            self._moved.set()

    def want_bottom(self, rows: int) -> None:
        """So many rows up to the end are wanted."""
        if self.more and rows > self._bottom_need:
            self._bottom_need = rows
            self._moved.set()

    # --- at work

    async def run(self) -> None:
        """Follow until cancelled."""
        link = self._link
        while link.client is None:
            link.changed.clear()
            await link.changed.wait()
        self._anew.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(link.client))
            await self._heard_first.wait()
            group.create_task(self._serve())

    async def _listen(self, client: Client) -> None:
        """Hear events, or digests while there are too many of them."""
        link, loop = self._link, asyncio.get_running_loop()
        events = subjects.live_event(client.namespace)
        digests = subjects.beat_runs(client.namespace)
        sub = await link.hear(events, self._hear)
        self._heard_first.set()
        busy_at = loop.time()
        try:
            while True:
                began, had = loop.time(), self._view.events
                await asyncio.sleep(AGAIN)
                now = loop.time()
                if self.digest:
                    self.rate = sum(r for r, at in self._rates.values() if at > now - LATE)
                else:
                    self.rate = (self._view.events - had) / (now - began)
                busy_at = now if self.rate >= LIGHT else busy_at
                wanted = now - busy_at < CALM if self.digest else self.rate > HEAVY
                if wanted != self.digest and link.connected:
                    # The other is heard before this one ends: nothing falls in between.
                    to, on = (digests, self._digested) if wanted else (events, self._hear)
                    old, sub = sub, await link.hear(to, on)
                    await old.unsubscribe()
                    self.digest = wanted
                    self._changed()
        finally:
            if not client.connection.is_closed:
                await sub.unsubscribe()

    async def _serve(self) -> None:
        """Ask, whatever is most urgent."""
        while True:
            try:
                busy = await self._step()
            except _Dropped:
                continue
            except HeadwayError as e:
                self.trouble, busy = str(e), False
                self._changed()
            if not busy:
                await self._rest()
                self._moved.clear()

    async def _step(self) -> bool:
        """The most urgent request; False if there is nothing to ask."""
        view, loop = self._view, asyncio.get_running_loop()
        if self._anew.is_set() or self._link.lives != self._life:
            await self._first()
        elif self.more and self._above is None and self._bottom_need:
            await self._end("")
        elif self.more and len(view.order) < self._need:
            await self._below()
        elif self.more and self._above and len(view.bottom) < self._bottom_need:
            await self._end(self._above)
        elif self._stale:
            ids = tuple(self._stale)[-PAGE:]
            for run in ids:
                del self._stale[run]
            view.refreshed((await self._page(RunsQuery(ids=ids, n=PAGE))).runs)
            self._changed()
            await self._rest()
        elif self._elsewhere and view.interest is not None:
            # Whoever else moved is not asked for one by one: what leads the list now is looked at.
            self._elsewhere = False
            page = await self._page(self._query(""))
            view.answered((), [row.run for row in page.runs])
            self._changed()
            await self._rest()
        elif view.maybe:
            await self._candidates()
        elif view.gaps and self._gap_at and loop.time() > self._gap_at + GAP_AFTER:
            self._gap_at = 0.0
            ids = tuple(view.gaps)[:PAGE]
            view.refreshed((await self._page(RunsQuery(ids=ids, n=PAGE))).runs)
            self._changed()
        else:
            self._gap_at = self._gap_at or loop.time() if view.gaps else 0.0
            return False
        return True

    def _hear(self, msg: Msg) -> None:
        try:
            self._view.hear(decode(RUN_EVENTS, msg.data))
        except Malformed:
            return
        if self._view.changed:
            self._changed()

    def _digested(self, msg: Msg) -> None:
        try:
            told = decode(RUNS_DIGEST, msg.data)
        except Malformed:
            return
        self._rates[told.engine] = told.rate, asyncio.get_running_loop().time()
        self._view.events += told.events
        stale = self._view.digested(told.new, told.moved)
        self._stale |= dict.fromkeys(stale)
        self._elsewhere = self._elsewhere or len(stale) < len(told.new) + len(told.moved)
        if told.partly:
            self._stale |= dict.fromkeys(self._view.order[:PAGE])
        self._changed()

    async def _page(self, query: RunsQuery) -> RunsPage:
        return await self._unless_dropped(self._link.ask("runs", query, RunsPage))

    async def _unless_dropped(self, asked: Coroutine[None, None, T]) -> T:
        """The answer; raises _Dropped when another query is asked for meanwhile."""
        answer = asyncio.ensure_future(asked)
        anew = asyncio.ensure_future(self._anew.wait())
        try:
            await asyncio.wait((answer, anew), return_when=asyncio.FIRST_COMPLETED)
            if self._anew.is_set():
                raise _Dropped
            return answer.result()
        finally:
            for task in (answer, anew):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, HeadwayError):
                    await task

    async def _heard(self, query: RunsQuery) -> RunsPage:
        """A page of the list; what is heard meanwhile is kept for it."""
        self._view.asking()
        try:
            return await self._page(query)
        except BaseException:
            self._view.unanswered()
            raise

    def _query(self, after: str, *, turned: bool = False) -> RunsQuery:
        sort = _TURNED[self.sort] if turned else self.sort
        return RunsQuery(ids=self.ids, query=self.text, after=after, n=PAGE, sort=sort)

    async def _first(self) -> None:
        life = self._link.lives
        self._anew.clear()
        query = self._query("")
        query.total = True
        try:
            page = await self._heard(query)
        except HeadwayError as e:
            if e.code != "bad_query":
                self._anew.set()
            raise
        self._view.snapshot(page.runs)
        self.trouble, self.loading, self._life = "", False, life
        self.counts, self.total, self.estimated = page.counts, page.total, page.estimated
        self._above, self._bottom_need = None, 0
        self.answers += 1
        self._need = max(self._need, PAGE // 2)
        self._went(page)

    async def _below(self) -> None:
        had = bool(self._view.bottom)
        page = await self._heard(self._query(self._next))
        self._view.snapshot(page.runs, more=True)
        self._went(page)
        if had and not self._view.bottom:
            self.more = False

    def _went(self, page: RunsPage) -> None:
        self.more, self._next = page.more, page.next
        self.looked = page.next if page.more and len(self._view.order) < self._need else ""
        if not page.more and self._view.bottom:
            self._view.joined()
        self._changed()

    async def _end(self, after: str) -> None:
        page = await self._heard(self._query(after, turned=True))
        met = self._view.end(page.runs)
        self._above = page.next
        if met or not page.more:
            self._view.joined()
            self.more = False
        self._changed()

    async def _candidates(self) -> None:
        """Which of the runs that moved belong to the list now?"""
        ids = tuple(self._view.maybe)[:PAGE]
        query = RunsQuery(ids=ids, query=self.text, n=PAGE)
        page = await self._page(query)
        self._view.answered(ids, [row.run for row in page.runs])
        self._changed()
        await self._rest()

    async def _rest(self) -> None:
        # Whatever moves is asked for once a second, not with every event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                await self._moved.wait()
