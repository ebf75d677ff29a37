"""What a hub remembers of a site."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Position(Struct):
    """How far a site is known here."""

    site: str
    seq: int = 0
    """In the site's own RUNS: all messages up to it are in the tables."""
    stream: str = ""
    """When the site's RUNS was made: its identity. Empty = the site was never heard of."""
    head: int = 0
    """The last sequence of the site's RUNS when it was last heard of."""
    contact_at: datetime | None = None
    as_of: datetime | None = None
    """What is known here is all that was true then."""
    skipped: int = 0
    problem: str = ""
