"""A finding: what was looked at, how it is, what to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 5.0
"""Seconds for one probe."""


class Finding(msgspec.Struct):
    """One line: what was looked at, how it is (`ok`, `note` or `bad`), what to do."""

    name: str
    state: str
    what: str
    todo: str = ""


def ok(name: str, what: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", what)


def note(name: str, what: str, todo: str = "") -> Finding:
    """Works, but somebody should know."""
    return Finding(name, "note", what, todo)


def bad(name: str, what: str, todo: str) -> Finding:
    """Does not work, or not as promised."""
    return Finding(name, "bad", what, todo)


async def probe(
    name: str,
    look: Callable[[], Awaitable[list[Finding]]],
    patience: float = LIMIT,
    *,
    late: Callable[[str, str, str], Finding] = bad,
) -> list[Finding]:
    """A probe's findings; its failure is one too, and so is (`late`) that there is no answer yet.

    `patience`: seconds.
    """
    try:
        async with asyncio.timeout(patience):
            return await look()
    except TimeoutError:
        return [late(name, f"no answer within {patience:g} s", "look whether it hangs")]
    except HeadwayError as e:
        return [bad(name, str(e), "look at its log")]
    except Exception as e:
        return [bad(name, f"{type(e).__name__}: {e}", "look at its log")]


def clock(name: str, ahead: float, within: float) -> list[Finding]:
    """A clock against this host's: seconds ahead of it, known to `within` seconds.

    Leases count on Postgres's clock, delays and keys of enqueues that waited on that of NATS: where
    both are near this host's, they are near each other.
    """
    off = abs(ahead) - within
    if off < CLOCK_NOTE:
        return []
    what = f"its clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    todo = "run NTP on all hosts"
    if off < CLOCK_BAD:
        return [note(name, what, todo)]
    return [bad(name, f"{what}: leases, delays and retries are off by that", todo)]


CLOCK_NOTE, CLOCK_BAD = 1.0, 5.0
"""Seconds; a lease is 15 s, renewed every 5 s."""
