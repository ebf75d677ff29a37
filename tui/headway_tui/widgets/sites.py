"""A line with the sites of a hub, asked for while it is shown; elsewhere it is not there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.wire.sites import SitesPage
from headway_tui.boards import connected
from headway_tui.chrome import Bar
from headway_tui.model.sites import cut_off, sites_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rich.segment import Segment

    from headway.wire.sites import SiteRow

EVERY = 2.0
"""Seconds between two questions to a hub."""
NO_HUB = 60.0
"""Seconds until an engine without sites is asked again: it may have been given some."""


class SitesLine(Bar):
    """One line, hidden where there are no sites."""

    def __init__(self, now: Callable[[], datetime], changed: Callable[[], None]) -> None:
        """`changed`: sites came, went, were cut off or linked again."""
        super().__init__(id="sites")
        self._now, self._changed = now, changed
        self.rows: list[SiteRow] = []
        self.display = False

    @property
    def cut(self) -> frozenset[str]:
        """Sites that are cut off."""
        return cut_off(self.rows)

    def on_mount(self) -> None:
        """Ask from now on."""
        self.run_worker(self._follow, name="sites", exit_on_error=True)

    async def _follow(self) -> None:
        link = self.console_app.link
        await connected(link)
        while True:
            life = link.lives
            await self.look()
            pause = EVERY if self.rows else NO_HUB
            while pause > 0 and life == link.lives:
                await asyncio.sleep(min(EVERY, pause))
                pause -= EVERY

    async def look(self) -> None:
        """Ask now."""
        with contextlib.suppress(HeadwayError):  # an engine of before, or none: as it was
            self.take((await self.console_app.link.ask("sites", None, SitesPage)).sites)

    def take(self, rows: list[SiteRow]) -> None:
        """This is how they are now."""
        before = ([row.site for row in self.rows], self.cut)
        self.rows = rows
        self.display = bool(rows)
        self.refresh()
        if before != ([row.site for row in rows], self.cut):
            self._changed()

    def pieces(self, width: int) -> list[Segment]:
        """The sites."""
        ascii_only = self.console_app.ascii_only
        found = sites_line(self.rows, self._now(), width, ascii_only=ascii_only)
        return [self.text(text, role) for text, role in found]
