"""What the console changes: one request each, safe to repeat. Raises HeadwayError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.wire.commands import AckAsk, CancelAsk, Done, ResumeAsk

if TYPE_CHECKING:
    from msgspec import Struct

    from headway_tui.link import Link

_WORDS = {"cancel": "cancelled", "resume": "resumed", "ack": "acknowledged"}


async def write(link: Link, verb: str, run: str) -> str:
    """Carry out one verb on one run; what happened, in words.

    A request whose answer was lost is made again after the reconnect with the same ids: the engine
    recognises it.
    """
    body: Struct
    if verb == "cancel":
        body = CancelAsk(run)
    elif verb == "resume":
        body = ResumeAsk(run)
    else:
        body = AckAsk(run)
    done = await link.ask(verb, body, Done)
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    if done.outcome == "already":
        return f"{run} is {done.status.lower()} already"
    return f"{run} {_WORDS[verb]}, now {done.status.lower()}"
