"""`headway advice`: what the last runs of a task say about its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.advice import facts, gather
from headway_ops import say
from headway_ops.link import with_client

if TYPE_CHECKING:
    from headway.advice import Advice
    from headway.client import Client


def advise(task: str, *, as_json: bool) -> None:
    """Print it."""

    async def work(client: Client) -> Advice:
        return await gather(client.api, task)

    told = with_client(work)
    if as_json:
        say.data(told)
        return
    for hint in told.hints:
        say.line(f"{hint.words}" + (f"   (headway show {hint.run})" if hint.run else ""))
    say.line("")
    width = max(len(name) for name, _ in facts(told))
    for name, words in facts(told):
        say.line(f"{name:<{width}}  {words}")
