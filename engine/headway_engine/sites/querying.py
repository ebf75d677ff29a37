"""A hub's verbs that take a query: counted over hub and sites, or, where they move runs, refused.

What a query without `site:` means to such a verb is the hub's own runs: nothing is moved at a site
that was not named one by one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headway.wire import decode, decoder
from headway.wire.runs import Facets, FacetsAsk, RunsQuery
from headway_engine.control import ApiRefused
from headway_engine.sites.merging import counted, meant, names_sites

if TYPE_CHECKING:
    from headway_engine.control import Asker, Handler
    from headway_engine.sites import SiteStore


class _Queried(Struct):
    query: str = ""
    ids: tuple[str, ...] = ()


_QUERIED, _FACETS = decoder(_Queried), decoder(FacetsAsk)


class Querying:
    """Puts sites beside the hub's own runs, for verbs that take a query."""

    def __init__(self, store: SiteStore, sites: tuple[str, ...], reads: dict[str, Handler]) -> None:
        """`reads`: the verbs that read, over the store of sites."""
        self._store, self._sites, self._reads = store, sites, reads

    def facets(self, own: Handler) -> Handler:
        """Values of both, added up."""

        async def handler(asker: Asker, body: bytes) -> Facets:
            ask = decode(_FACETS, body)
            here, there = meant(RunsQuery(query=ask.query), self._sites)
            wanted = [own] * here + [self._reads["facets"]] * there
            if len(wanted) < 2:
                return await (wanted or [own])[0](asker, body)
            return counted(await asyncio.gather(*(one(asker, body) for one in wanted)), ask.n)

        return handler

    def own_alone(self, verb: str, own: Handler) -> Handler:
        """Refuses what names runs of sites, by `site:` or by their ids."""

        async def handler(asker: Asker, body: bytes) -> Any:
            ask = decode(_QUERIED, body)
            if ask.query and names_sites(ask.query, self._sites):
                raise ApiRefused("refused", _refusal(verb, "this query names runs of sites"))
            owners = await self._store.owners(asker.ns, ask.ids) if ask.ids else {}
            if owners:
                names = ", ".join(sorted(set(owners.values())))
                some = f"{len(owners)} of these {len(ask.ids)} runs are those of {names}"
                raise ApiRefused("refused", _refusal(verb, some))
            return await own(asker, body)

        return handler


def _refusal(verb: str, why: str) -> str:
    return (
        f"{verb} moves the hub's own runs alone, and {why}: cancel, resume, replay or tag those one"
        " by one (each is kept for its site), or do it at the site"
    )
