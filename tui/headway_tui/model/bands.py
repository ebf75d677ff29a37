"""The worst trouble in one line: what it is, for how long, what goes on meanwhile. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from headway.texts import plural, span
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from datetime import datetime

SILENT_AFTER = 3.0
"""Seconds without a beat of any engine after which that is said."""

BEHIND_FROM = 0.25
"""Seconds of lateness that a reader notices; a little of it only slows the clock."""


class Facts(NamedTuple):
    """What is known of the link and of those behind it."""

    now: datetime
    """Local time."""
    connected: bool = True
    ever: bool = True
    """There was a connection once."""
    seconds: float = 0.0
    """Since it was made or lost."""
    tries: int = 0
    trouble: str = ""
    silent: float = 0.0
    """Seconds since an engine was heard."""
    store_ok: bool | None = True
    store_for: float = 0.0
    """Seconds for which the store is as it is."""
    agents: tuple[int, int] = (0, 0)
    """Alive, known."""
    open: int = 0
    """Runs that live agents have open."""
    behind: float = 0.0
    """Seconds by which painting is late."""
    edge: bool = False
    """Runs are kept in JetStream, not in Postgres."""


class Band(NamedTuple):
    """One line over the header; `none` = the header itself."""

    kind: Literal["alarm", "band", "none"]
    words: str


def band_of(f: Facts) -> Band:
    """The worst trouble of these facts."""
    if not f.connected and not f.ever:
        if not f.tries:
            return Band("none", "")
        return Band("alarm", f"NO NATS LINK   try {f.tries}   {safe(f.trouble, 300)}")
    if not f.connected:
        lost = f.now - timedelta(seconds=f.seconds)
        return Band(
            "alarm",
            f"NATS LINK LOST {lost:%H:%M:%S} ({span(f.seconds)})   trying again   ctrl+r now"
            "   what is shown was true then   writes are refused",
        )
    alive, known = f.agents
    if f.silent > SILENT_AFTER:
        return Band(
            "alarm",
            f"ENGINE SILENT {span(f.silent)}   no heartbeat from any engine"
            f"   agents {alive}/{known} alive   runs continue until their next checkpoint",
        )
    if f.store_ok is False:
        held = f" ({plural(f.open, 'run')})" if f.open else ""
        store = "JETSTREAM" if f.edge else "POSTGRES"
        return Band(
            "alarm",
            f"{store} DOWN ({span(f.store_for)})   running tasks hold at their next checkpoint"
            f"{held}   new runs wait in NATS",
        )
    if f.trouble:
        return Band("band", safe(f.trouble, 300))
    if f.behind >= BEHIND_FROM:
        return Band(
            "band",
            f"BEHIND {span(f.behind)}   this terminal is slow: every other frame is left out, no"
            " line is lost",
        )
    return Band("none", "")
