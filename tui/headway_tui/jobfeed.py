"""What the replay console reads of jobs: the list, one job followed by push, both runs of an item.

Everything through `headway.replays`, as any program has it; what is lost with the link is read
again when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.replays import jobs
from headway_tui.feeds import AGAIN
from headway_tui.listing import RunsFeed
from headway_tui.model.jobs import FINAL
from headway_tui.model.rows import RunsView

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.replays import JobDetail, JobItem, JobRow
    from headway.wire.runs import RunRow
    from headway_tui.link import Link

WATCHED = 100
"""Forks that are followed live, and as many originals: those that run, and what is not known."""


class JobFeed:
    """Follows one job at a time; none = the list of them."""

    def __init__(self, link: Link, changed: Callable[[], None]) -> None:
        self._link, self._changed = link, changed
        self.list: list[JobRow] = []
        self.row: JobRow | None = None
        self.detail: JobDetail | None = None
        self.items: list[JobItem] = []
        self.rows: dict[str, RunRow] = {}
        """What is known of originals and forks."""
        self.trouble = ""
        self.view = RunsView()
        self._runs = RunsFeed(link, self.view, self._heard)
        self._asked: tuple[str, ...] = ()

    async def jobs(self) -> None:
        """Read the list."""
        while True:
            client = self._link.client
            try:
                if client is not None and self._link.connected:
                    self.list, self.trouble = await jobs.jobs(client), ""
                    self._changed()
                    return
            except HeadwayError as e:
                self.trouble = str(e)
                self._changed()
            await asyncio.sleep(AGAIN)

    async def follow(self, job: str) -> None:
        """Follow a job until it and its forks have ended."""
        self.row = self.detail = None
        self.items, self.rows, self._asked = [], {}, ()
        self._changed()
        runs: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                client = self._link.client
                try:
                    if client is not None and self._link.connected:
                        self.detail, self.items = await jobs.all_items(client, job)
                        self.row = self.detail.row
                        self._watch()
                        runs = runs or group.create_task(self._runs.run())
                        async for row in jobs.follow(client, job):
                            self.row, self.trouble = row, ""
                            await self._refresh(job)
                            self._changed()
                        await asyncio.sleep(AGAIN)  # the rows of the last ends
                        runs.cancel()
                        return
                except HeadwayError as e:
                    self.trouble = str(e)
                    self._changed()
                await asyncio.sleep(AGAIN)

    async def _refresh(self, job: str) -> None:
        """Items are carried out in order: those from the first open one on may be others now."""
        client = self._link.client
        if client is None:
            return
        at = next((i for i, item in enumerate(self.items) if item.state not in FINAL), None)
        if at is None:
            return
        page = (await jobs.job(client, job, at)).items
        self.items[at : at + len(page)] = page
        self._watch()

    def _watch(self) -> None:
        running = [i for i in self.items if i.state == "started"]
        new = [i for i in self.items if i.state == "ended" and not self._known(i)]
        shown = [i for i in self.items if i.run not in self.rows]
        wanted = [i.fork for i in (*running, *new)][:WATCHED] + [i.run for i in shown[:WATCHED]]
        if wanted and tuple(wanted) != self._asked:
            self._asked = tuple(wanted)
            self._runs.ask(ids=self._asked)
            self._runs.want(len(self._asked))

    def _known(self, item: JobItem) -> bool:
        row = self.rows.get(item.fork)
        return row is not None and row.ended_at is not None

    def _heard(self) -> None:
        self.rows |= self.view.rows
        self._changed()

    async def steer(self, how: str) -> JobRow | None:
        """Approve, hold or stop; raises HeadwayError."""
        client = self._link.client
        if client is None or self.row is None:
            raise HeadwayError("there is no connection to NATS: it is tried again and again")
        verb = {"approve": jobs.approve, "hold": jobs.hold, "stop": jobs.stop}[how]
        self.row = await verb(client, self.row.job)
        with contextlib.suppress(HeadwayError):
            await self._refresh(self.row.job)
        self._changed()
        return self.row
