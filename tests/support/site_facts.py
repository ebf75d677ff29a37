"""A hub's console: two sites, one of them cut off with commands that wait."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headway.wire.sites import SiteRow
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, rows, show

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp

AWAY = NOW - timedelta(minutes=4)


def sites() -> list[SiteRow]:
    """One linked and up to date, one cut off."""
    return [
        SiteRow("berlin", contact_at=AWAY, as_of=AWAY - timedelta(seconds=2), behind=3, seq=412,
                waiting=2, waiting_since=NOW - timedelta(minutes=3)),
        SiteRow("oslo", linked=True, contact_at=NOW, as_of=NOW, seq=977),
    ]  # fmt: skip


async def open_sites(app: HeadwayApp, pilot: Any) -> RunsScreen:
    """The list of runs, with owners."""
    screen = app.screen
    assert isinstance(screen, RunsScreen)
    owners = cycle(("berlin", "", "oslo"))
    screen.view.asking()
    screen.view.snapshot([replace(row, task="inspect-weld", site=next(owners)) for row in rows()])
    screen.sites.take(sites())
    await show(app, pilot)
    return screen
