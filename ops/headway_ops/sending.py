"""run --site: says where a run is that was given to a site, and when there is no link to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.wire.sites import CommandsAsk, CommandsPage, SitesPage
from headway_ops import say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.client import Client, RunHandle
    from headway.wire.sites import CommandRow, SiteRow

LOOK = 0.25
"""Seconds between two looks at a run that was just given to its site."""
LOOK_LATER = 2.0
SOON = 3.0
"""Seconds in which a site that is linked has usually taken it: until then nothing is said."""
LINK_EVERY = 5.0
"""Seconds between two looks at the link while the run is followed."""


async def handed_over(client: Client, handle: RunHandle[Any], site: str) -> None:
    """Wait until the site has the run, saying what it waits for.

    Raises Fail if the site refused it or heard of it too late, or if its time is over and nobody
    knows whether the site has it; NotReachable.
    """
    loop = asyncio.get_running_loop()
    since = loop.time()
    said = ""
    while True:
        row = await _command(client, handle.enqueued_id)
        if row is not None and row.state in ("refused", "expired"):
            why = row.message or row.code or row.state
            raise Fail(f"site {site} did not take run {row.run}: {why}", "", Exit.REFUSED)
        if row is not None and row.state == "overdue":
            raise Fail(
                f"its time is over, and site {site} was not heard of: it will not take run"
                f" {row.run} any more, whether it has it is known when there is a link",
                f"headway show {row.run}",
                Exit.NO_LINK,
            )
        if handle.recorded == "recorded" or (row is not None and row.state == "done"):
            if said:
                say.tell(f"site {site} has it")
            return
        word = _waits(row, await _site(client, site), site)
        young = loop.time() - since < SOON
        if word != said and not (young and "no link" not in word):
            say.tell(word)
            said = word
        await asyncio.sleep(LOOK if young else LOOK_LATER)


def _waits(row: CommandRow | None, link: SiteRow | None, site: str) -> str:
    """Why it is not there yet."""
    until = f", until {row.until:%Y-%m-%d %H:%M} UTC" if row is not None else ""
    if broken(link):
        return (
            f"no link to site {site} {_since(link)}: the run is kept here{until} (Ctrl+C leaves it"
            f" there; headway sites {site})"
        )
    return f"site {site} is linked and has not taken it yet: does its engine run? It waits{until}"


def broken(link: SiteRow | None) -> bool:
    """There is no link now."""
    return link is None or not link.linked


def _since(link: SiteRow | None) -> str:
    """Not an age, which would be another one at each look."""
    if link is None or link.contact_at is None:
        return "(it was never heard of)"
    return f"since {link.contact_at:%H:%M:%S} UTC"


async def _command(client: Client, run: str) -> CommandRow | None:
    page = await client.api("commands", CommandsAsk(run=run), CommandsPage)
    rows = [row for row in page.commands if row.verb == "enqueue"]
    return rows[-1] if rows else None


async def _site(client: Client, site: str) -> SiteRow | None:
    page = await client.api("sites", None, SitesPage)
    return next((row for row in page.sites if row.site == site), None)


@asynccontextmanager
async def telling_link(client: Client, site: str) -> AsyncGenerator[None]:
    """Meanwhile say when the link to the site breaks, and when it is back."""
    task = asyncio.create_task(_tell_link(client, site))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tell_link(client: Client, site: str) -> None:
    up = True
    while True:
        await asyncio.sleep(LINK_EVERY)
        try:
            link = await _site(client, site)
        except HeadwayError:
            continue  # the connection itself broke: that is said elsewhere
        if broken(link) is up:
            up = not up
            say.tell(
                f"linked with site {site} again"
                if up
                else f"no link to site {site} {_since(link)}: the run goes on there, what it does"
                " is shown when there is one"
            )
