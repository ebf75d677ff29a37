"""sites: how the sites of a hub are, and what waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from headway.subjects import name
from headway.texts import age, plural
from headway.wire.sites import CommandsAsk, CommandsPage, SitesPage
from headway_ops import link, say
from headway_ops.render import a_table, cut, safe_line
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.table import Table

    from headway.client import Client
    from headway.wire.sites import CommandRow, SiteRow

NO_HUB = "this is no hub (its engines name them in `sites` of [engine], see `headway edge join`)"


def list_sites(site: str, *, as_json: bool) -> None:
    """Print the sites, or one of them with what waits for it. Raises Fail."""
    if site:
        name(site, "site")

    async def ask(client: Client) -> tuple[SitesPage, CommandsPage | None]:
        page = await client.api("sites", None, SitesPage)
        there = any(row.site == site for row in page.sites)
        kept = await client.api("commands", CommandsAsk(site), CommandsPage) if there else None
        return page, kept

    page, kept = link.with_client(ask)
    rows = [row for row in page.sites if not site or row.site == site]
    if site and not rows:
        names = ", ".join(row.site for row in page.sites)
        todo = f"it has {names}" if names else NO_HUB
        raise Fail(f"no site {site!r} at this hub", todo, Exit.USAGE)
    if as_json:
        say.data({"sites": rows, "commands": kept.commands} if kept else {"sites": rows})
        return
    if not rows:
        say.tell(f"no sites: {NO_HUB}")
        return
    say.show(sites_table(rows, page.as_of))
    for row in rows:
        if row.problem:
            say.tell(f"site {row.site} is not followed: {safe_line(row.problem, 400)}")
        if row.skipped:
            say.tell(skipped_words(row))
    if kept is None:
        return
    if kept.commands:
        say.show(Text(), commands_table(kept.commands, kept.as_of))
        for row in kept.commands:
            if row.message:
                say.tell(f"{row.run} {row.state}: {safe_line(row.message, 300)}")
        if kept.more:
            say.tell(f"there are {kept.more:,} more")
    else:
        say.tell("nothing waits for it")


def skipped_words(row: SiteRow) -> str:
    """What a hub lacks of a site, and where it is said why."""
    return (
        f"site {row.site}: {plural(row.skipped, 'message')} said nothing that could be followed; it"
        " may have removed runs, for want of room, before they were here: `headway doctor` there"
    )


def link_text(row: SiteRow, now: datetime) -> Text:
    """Whether there is a link: a mark, a word, and since when there is none."""
    if row.problem:
        return Text("! not followed", style="bold red")
    if row.linked:
        return Text("● live", style="green")
    if row.contact_at is None:
        return Text("◌ never heard of", style="yellow")
    return Text(f"◌ cut off {age(row.contact_at, now)}", style="yellow")


def sites_table(rows: Sequence[SiteRow], now: datetime) -> Table:
    """The sites: link, age of what is known, how far behind, what waits."""
    table = a_table("SITE", "LINK", "KNOWN AS OF", "BEHIND", "WAITING", "OLDEST")
    for row in rows:
        table.add_row(
            Text(safe_line(row.site, 64)),
            link_text(row, now),
            f"{age(row.as_of, now)} ago" if row.as_of else "-",
            f"{row.behind:,}" if row.contact_at else "?",
            f"{row.waiting:,}" if row.waiting else "-",
            age(row.waiting_since, now) if row.waiting_since else "-",
        )
    return table


def commands_table(rows: Sequence[CommandRow], now: datetime) -> Table:
    """What waits for sites, the oldest first."""
    table = a_table("STATE", "COMMAND", "RUN", "TASK", "BY", "AGE", "UNTIL", wide=3)
    for row in rows:
        table.add_row(
            Text(row.state, style="yellow" if row.state == "waiting" else "red"),
            Text(safe_line(row.verb, 16)),
            Text(safe_line(row.run, 26)),
            cut(row.task or "-"),
            Text(safe_line(row.user, 24)),
            age(row.at, now),
            f"{row.until:%m-%d %H:%M}",
        )
    return table


def waiting_line(rows: Sequence[SiteRow], now: datetime) -> Text:
    """Sites that are cut off, and what waits for them, below a list of runs; maybe nothing."""
    text = Text()
    for row in rows:
        if row.linked and not row.waiting and not row.problem:
            continue
        text.append(f"{safe_line(row.site, 64)} ").append_text(link_text(row, now))
        if row.waiting and row.waiting_since:
            since = age(row.waiting_since, now)
            text.append(f", {row.waiting:,} commands wait (the oldest {since})")
        text.append("   ")
    return text
