"""A hub's `dead` and `usage`: of its own runs and of those of its sites, beside each other.

Dead letters of a site are classes of their own: who acts on a class acts on runs of one owner.
What was used is added up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway.wire import decode, decoder, encode
from headway.wire.runs import UsageAsk, UsageRow
from headway.wire.steering import DeadAsk, DeadPage
from headway_engine.sites.sending import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headway_engine.control import Asker, Handler

OWN = "-"
"""Where a site may be named: none, the hub itself."""
_MOST = 1000
_DEAD, _USAGE = decoder(DeadAsk), decoder(UsageAsk)


class Summing:
    """Both verbs; at an engine without sites they are its own, and a site is refused."""

    def __init__(
        self, sites: Sequence[str], own: dict[str, Handler], theirs: dict[str, Handler]
    ) -> None:
        """`own`: verbs over the hub's runs; `theirs`: over those of its sites, empty if none."""
        self._sites, self._own, self._theirs = sites, own, theirs

    def _whose(self, site: str) -> tuple[bool, bool]:
        """(the hub's own are meant, those of sites are). Raises ApiRefused."""
        if site not in ("", OWN):
            known(site, self._sites)
        return site in ("", OWN), site != OWN and bool(self._sites)

    async def dead(self, asker: Asker, body: bytes) -> DeadPage:
        """Classes of all of them, the largest first."""
        ask = decode(_DEAD, body or b"{}")
        here, there = self._whose(ask.site)
        pages: list[DeadPage] = []
        if here:
            page = await self._own["dead"](asker, encode(replace(ask, site="")))
            if self._sites:
                for one in page.classes:
                    one.site = OWN
            pages.append(page)
        if there:
            pages.append(await self._theirs["dead"](asker, body or b"{}"))
        return together(pages, ask.n)

    async def usage(self, asker: Asker, body: bytes) -> list[UsageRow]:
        """Sums over all of them, the dearest first."""
        ask = decode(_USAGE, body or b"{}")
        here, there = self._whose(ask.site)
        if not there:
            return await self._own["usage"](asker, encode(replace(ask, site="")))
        # What is rare in one may be dear in both.
        whole = replace(ask, n=_MOST)
        asked = [self._theirs["usage"](asker, encode(whole))]
        if here:
            asked.append(self._own["usage"](asker, encode(whole)))
        pages: list[list[UsageRow]] = await asyncio.gather(*asked)
        return summed((row for page in pages for row in page), ask.n)


def together(pages: Sequence[DeadPage], n: int) -> DeadPage:
    """Classes of several pages, the largest first, at most `n`."""
    classes = [one for page in pages for one in page.classes]
    classes.sort(key=lambda c: (-c.count, c.failure, c.task, c.site))
    more = sum(page.more for page in pages) + max(0, len(classes) - n)
    return DeadPage(classes[:n], pages[0].as_of, sum(page.total for page in pages), more)


def summed(rows: Iterable[UsageRow], n: int) -> list[UsageRow]:
    """Rows with the same key added up; the dearest first, at most `n`."""
    sums: dict[str, UsageRow] = {}
    for row in rows:
        have = sums.setdefault(row.key, UsageRow(row.key))
        have.runs += row.runs
        have.attempts += row.attempts
        have.tokens_in += row.tokens_in
        have.tokens_out += row.tokens_out
        have.cost_usd += row.cost_usd
    found = sorted(sums.values(), key=lambda r: (-r.cost_usd, -(r.tokens_in + r.tokens_out), r.key))
    return found[:n]
