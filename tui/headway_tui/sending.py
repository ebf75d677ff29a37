"""One write whose outcome is never left open: what was sent and not answered is asked for again.

The same body goes out again, with the ids that were made for it, as soon as there is a link: the
engine recognises it. A request that was refused, or never left, is not repeated.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headway.errors import HeadwayError, NotAllowed, NotReachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

    from headway_tui.link import Link

T = TypeVar("T")

AGAIN = 1.0
"""Seconds between two tries, while there is a link and nobody answers."""


async def send(
    link: Link, verb: str, body: Struct, kind: type[T], told: Callable[[str], None]
) -> T:
    """The engine's answer, however long it takes; `told` hears when that is not known at once.

    Raises HeadwayError if it is refused, or was not sent at all. Ends by cancellation: then what
    was sent may still be done.
    """
    asked = False
    while True:
        if asked and not link.connected:
            link.changed.clear()
            await link.changed.wait()
            continue
        try:
            return await link.ask(verb, body, kind)
        except NotAllowed:
            raise
        except NotReachable as e:
            asked = True
            told(f"{verb}: sent, not confirmed: it is asked for again ({e})")
        except HeadwayError:
            if not asked or link.connected:
                raise
        await asyncio.sleep(AGAIN)


def kindly(error: HeadwayError) -> str:
    """Why it was refused, and what would help."""
    if isinstance(error, NotAllowed):
        verb = error.subject.rsplit(".", 1)[-1]
        return f"your NATS user may not {verb}: it takes an operator's credentials"
    return str(error)
