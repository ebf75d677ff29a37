"""The hub's verbs `sites` and `commands`: how each site is, and what waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.wire import decode
from headway.wire.sites import COMMANDS, CommandRow, CommandsPage, SiteRow, SitesPage
from headway_engine.control import ApiRefused
from headway_engine.sites.commands import row_of
from headway_engine.sites.records import Position
from headway_engine.sites.sending import known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway_engine.control import Asker
    from headway_engine.sites import SiteStore
    from headway_engine.sites.commands import Command, Commands

SILENT = timedelta(seconds=8)
"""A site that was not heard of for so long is cut off; it is asked every two seconds."""


class Listing:
    """What a hub says of its sites."""

    def __init__(
        self,
        store: SiteStore | None,
        sites: Sequence[str],
        commands: Commands,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._sites, self._commands, self._now = store, sites, commands, now

    async def sites(self, asker: Asker, body: bytes) -> SitesPage:
        """Each site, with what waits for it in the asker's namespace."""
        positions = {} if self._store is None else await self._store.positions()
        now = self._now()
        rows: list[SiteRow] = []
        for site in sorted(self._sites):
            waiting = [c for c in await self._waiting(site) if c.ns == asker.ns]
            rows.append(site_row(positions.get(site) or Position(site), waiting, now))
        return SitesPage(rows, now)

    async def commands(self, asker: Asker, body: bytes) -> CommandsPage:
        """Those that wait or that the site did not do; or all about one run."""
        ask = decode(COMMANDS, body)
        if ask.site:
            known(ask.site, self._sites)
        now = self._now()
        rows: list[CommandRow] = []
        if not self._sites:
            return CommandsPage(rows, now)
        if ask.run:
            about = await self._about(ask.run, ask.site)
            rows = [row_of(site, c, now) for site, c in about if c.ns == asker.ns]
        else:
            for site in [ask.site] if ask.site else self._sites:
                found = [*await self._waiting(site), *await self._failed(site)]
                rows += [row_of(site, c, now) for c in found if c.ns == asker.ns]
            rows.sort(key=lambda row: row.at)
        return CommandsPage(rows[: ask.n], now, max(0, len(rows) - ask.n))

    async def _waiting(self, site: str) -> list[Command]:
        try:
            return [command for _, _, command in await self._commands.waiting(site)]
        except HeadwayError as e:
            raise _unreadable(e) from None

    async def _failed(self, site: str) -> list[Command]:
        try:
            return await self._commands.failed(site)
        except HeadwayError as e:
            raise _unreadable(e) from None

    async def _about(self, run: str, site: str) -> list[tuple[str, Command]]:
        try:
            return await self._commands.about(run, site)
        except HeadwayError as e:
            raise _unreadable(e) from None


def _unreadable(error: HeadwayError) -> ApiRefused:
    return ApiRefused("unavailable", f"what is kept for sites cannot be read now: {error}")


def site_row(position: Position, waiting: Sequence[Command], now: datetime) -> SiteRow:
    """How a site is."""
    heard = position.contact_at
    return SiteRow(
        position.site,
        heard is not None and now - heard < SILENT,
        heard,
        position.as_of,
        max(0, position.head - position.seq),
        position.seq,
        position.skipped,
        position.problem,
        len(waiting),
        min((c.at for c in waiting), default=None),
    )
