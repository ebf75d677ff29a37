"""The roles of an engine: which of its services a process runs (`headway engine --roles`).

Every role must run in at least one process of an installation; by default one process has all.
Roles that are split find each other by hints on `hw.wake`, and by looks at the store behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_engine.names import meant

if TYPE_CHECKING:
    from collections.abc import Iterable

ROLES: dict[str, str] = {
    "intake": "records what INGEST holds; without it enqueues stay accepted",
    "dispatch": "gives due runs to WORK; without it nothing starts",
    "agents": "answers agents: claims, saves, reports, leases; without it attempts freeze",
    "timers": "delays, retries, deadlines; without it nothing that waits goes on",
    "api": "answers clients, command line and terminal; without it nobody sees or steers",
    "upkeep": "publishes what a dead engine left, prunes; without it tables and blobs grow",
}
"""Role to what it does."""
ALL = tuple(ROLES)


def check_roles(roles: Iterable[str]) -> None:
    """Raises ValueError for none at all and for a role that does not exist."""
    given = tuple(roles)
    if not given:
        raise ValueError(f"roles: name at least one of {', '.join(ROLES)}")
    for role in given:
        if role not in ROLES:
            raise ValueError(f"roles: no such role {role!r}: {meant(role, ROLES)}")


def missing_roles(engines: Iterable[Iterable[str]]) -> list[str]:
    """Roles that none of these engines has; an engine that names none (an older one) has all."""
    have: set[str] = set()
    for roles in engines:
        have.update(tuple(roles) or ALL)
    return [role for role in ROLES if role not in have]
