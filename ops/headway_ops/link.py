"""The command line's one connection: settings found, client made, closed at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headway.client import Client
from headway.config import from_environment
from headway.ids import is_run_id
from headway.wire.commands import RunAsk, RunDetail
from headway_ops import say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PREFIX = 6
"""Shortest prefix of a run id that is looked up."""


def with_client(work: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, do the work, close. Ctrl+C ends it; raises NotReachable if nobody answers."""
    say.quiet_library()

    async def main() -> T:
        client = await Client.open(from_environment())
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


def prefix_of(text: str) -> str:
    """What the user typed as an id or a prefix of one; Fail if it is neither."""
    shown = text.strip().upper()
    if len(shown) < PREFIX or not shown.isalnum() or len(shown) > 26:
        raise Fail(
            f"{text!r} is no run id and no prefix of one ({PREFIX} to 26 letters and digits)",
            "headway ls",
            Exit.USAGE,
        )
    return shown


async def detail(client: Client, text: str) -> RunDetail:
    """The run with this id or unique prefix."""
    return await client.api("run", RunAsk(prefix_of(text)), RunDetail)


async def run_id(client: Client, text: str) -> str:
    """The full id; a full one is not looked up."""
    shown = prefix_of(text)
    return shown if is_run_id(shown) else (await detail(client, shown)).row.run
