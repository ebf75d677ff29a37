"""What the console changes: one request each, safe to repeat. Raises HeadwayError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.wire.commands import AckAsk, CancelAsk, Done, ReplayAsk, ResumeAsk
from headway_tui.sending import send

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

    from headway_tui.link import Link

_WORDS = {
    "cancel": "cancelled", "resume": "resumed", "replay": "replayed", "ack": "acknowledged",
}  # fmt: skip


async def write(link: Link, verb: str, run: str, told: Callable[[str], None]) -> str:
    """Carry out one verb on one run; what happened, in words.

    A request whose answer was lost is made again with the same ids, and the engine recognises it;
    `told` hears of that.
    """
    body: Struct
    if verb == "cancel":
        body = CancelAsk(run)
    elif verb == "resume":
        body = ResumeAsk(run, request=new_run_id())
    elif verb == "ack":
        body = AckAsk(run)
    else:
        body = ReplayAsk(run, new_run_id())
    done = await send(link, verb, body, Done, told)
    if done.outcome not in {"ok", "already"}:
        raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    if done.outcome == "already":
        return f"{run} is {done.status.lower()} already"
    if verb == "replay":
        return f"{run} replayed: the new run is {done.run}"
    return f"{run} {_WORDS[verb]}, now {done.status.lower()}"
