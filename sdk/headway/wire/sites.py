"""Sites of a hub, and what is kept for them there: `sites`, `commands`, `send`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from headway.wire import Instant, decoder
from headway.wire.fields import Name, Text

SEND_ITEMS = 500
"""Enqueues in one request at most."""
SEND_TTL = 86400.0
"""Seconds that a command waits for its site unless it says otherwise."""
SEND_TTL_MAX = 7 * 86400.0


class SendAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`send`: enqueue these at a site, as soon as there is a link. Safe to repeat."""

    site: Name
    items: Annotated[list[Raw], Meta(min_length=1, max_length=SEND_ITEMS)]
    """EnqueueItems. One that cannot be sent refuses them all, before any is kept."""
    ttl: Annotated[float, Meta(gt=0, le=SEND_TTL_MAX)] = SEND_TTL
    """So long each waits for its site; after that it is not enqueued any more."""
    reply: Annotated[str, Meta(max_length=160)] = ""
    """Where to say what became of them: `hw.reply.<user>.<token>`."""


class CommandRow(Struct, omit_defaults=True):
    """What a hub keeps for a site, and what became of it."""

    site: str
    verb: str
    """`enqueue`, `cancel`, `resume`, `replay` or `tag`."""
    run: str
    at: Instant
    until: Instant
    """After this the site does not do it any more."""
    state: str = "waiting"
    """`waiting`; `overdue`: its time is over and the site was not heard of since; `done`: handed
    over; `refused` by the site; `expired`: the site heard of it too late."""
    id: str = ""
    user: str = ""
    task: str = ""
    """Of an enqueue."""
    key: str = ""
    """Of an enqueue: its idempotency key."""
    winner: str = ""
    """Of an enqueue: the run that held the key at the site."""
    code: str = ""
    message: str = ""
    """Why it was refused."""


class CommandsAsk(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`commands`: what is kept for sites, or was not done there, the oldest first."""

    site: str = ""
    """Empty = all sites."""
    run: Text = ""
    """All about one run; empty = those that wait, and those of the last days that a site refused or
    heard of too late."""
    n: Annotated[int, Meta(ge=1, le=1000)] = 200


class SiteRow(Struct, omit_defaults=True):
    """One site, as its hub knows it."""

    site: str
    linked: bool = False
    """It was heard of within the last seconds."""
    contact_at: Instant | None = None
    """When it was last heard of; None = never."""
    as_of: Instant | None = None
    """What is known here is all that was true then."""
    behind: int = 0
    """Messages that the site had at the last contact, and that are not here yet."""
    seq: int = 0
    """Of the site's RUNS: all up to it is here."""
    skipped: int = 0
    """Messages that said nothing that could be followed."""
    problem: str = ""
    """Why nothing is taken from it any more."""
    waiting: int = 0
    """Commands that wait for it."""
    waiting_since: Instant | None = None
    """Since when the oldest of them does."""


class SitesPage(Struct, omit_defaults=True):
    """The answer of `sites`; none = it is no hub."""

    sites: list[SiteRow]
    as_of: Instant


class CommandsPage(Struct, omit_defaults=True):
    """The answer of `commands`."""

    commands: list[CommandRow]
    as_of: Instant
    more: int = 0
    """So many more there are."""


SEND = decoder(SendAsk)
COMMANDS = decoder(CommandsAsk)
