"""What an engine has more of at a hub, and at a site: its verbs and its services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_engine.logbook import Logbook
from headway_engine.sites.catching import Catching
from headway_engine.sites.commands import Commands
from headway_engine.sites.door import SitesDoor
from headway_engine.sites.following import Follower, Retention
from headway_engine.sites.homing import Homing, Ships
from headway_engine.sites.listing import Listing
from headway_engine.sites.obeying import Obeying
from headway_engine.sites.querying import Querying
from headway_engine.sites.sending import Making, Sending
from headway_engine.sites.settling import Settler
from headway_engine.sites.summing import Summing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from nats.aio.client import Client as NatsClient

    from headway_engine.blobs import Blobs
    from headway_engine.config import EngineConfig
    from headway_engine.control import Handler
    from headway_engine.post import Post
    from headway_engine.recorder import Recorder
    from headway_engine.service import Service
    from headway_engine.sites import SiteStore
    from headway_engine.store import Store


class Hub:
    """At an engine without sites it has the verbs alone, which say so."""

    def __init__(
        self,
        nc: NatsClient,
        store: SiteStore | None,
        sites: tuple[str, ...],
        bodies: Callable[[str], Blobs],
        now: Callable[[], datetime],
    ) -> None:
        """`store`: what is known of the runs of sites; `bodies`: a site's blobs, over the link.

        `now`: the store's clock.
        """
        self._nc, self._store, self._bodies, self._now = nc, store, bodies, now
        self._sites = sites if store is not None else ()
        self._commands = Commands(nc, self._sites, now)
        self._followers = (
            {} if store is None else {site: Follower(nc, store, site, now) for site in self._sites}
        )

    def over(self, own: dict[str, Handler], reads: dict[str, Handler]) -> dict[str, Handler]:
        """The table of verbs from that of its own runs; `reads`: over the store of sites."""
        listing = Listing(self._store, self._sites, self._commands, self._now)
        sending = Sending(self._commands, self._sites, self._now)
        table: dict[str, Handler] = {
            "sites": listing.sites,
            "commands": listing.commands,
            "send": sending.send,
        }
        summing = Summing(self._sites, own, reads)
        own = own | {"dead": summing.dead, "usage": summing.usage}
        if self._store is None:
            return own | table
        books = {site: Logbook(self._nc, site) for site in self._sites}
        seen = {site: {"logs": book.logs, "spans": book.spans} for site, book in books.items()}
        catching = Catching(self._nc, self._store, self._followers)
        door = SitesDoor(
            self._store,
            self._sites,
            reads,
            seen.__getitem__,
            self._commands,
            catching,
            self._bodies,
            self._now,
        )
        querying = Querying(self._store, self._sites, reads)
        table["facets"] = querying.facets(own["facets"])
        for verb in ("bulk", "plan-rows"):
            table[verb] = querying.own_alone(verb, own[verb])
        return door.over(own) | table

    def services(self, answers: Post, replicas: int, prune_every: float) -> list[Service]:
        """Those that follow sites. `answers`: where callers are; `replicas`: of streams."""
        if self._store is None:
            return []
        settlers = [
            Settler(self._nc, site, self._commands, answers, replicas) for site in self._sites
        ]
        return [*settlers, *self._followers.values(), Retention(self._store, prune_every)]


def at_site(
    nc: NatsClient,
    config: EngineConfig,
    table: dict[str, Handler],
    recorder: Recorder,
    store: Store,
    now: Callable[[], datetime],
) -> list[tuple[str, Service]]:
    """(role, service) of a site's engine for its hub; none where the settings name no site."""
    site, hub = config.site, config.hub
    if not site:
        return []
    making = Making(recorder, now)
    found: list[tuple[str, Service]] = [
        ("api", Obeying(nc, site, hub, table, making.make, now)),
    ]
    if isinstance(store, Ships) and store.holds:
        found.append(("upkeep", Homing(nc, site, hub, store)))
    return found
