"""What a comparison reads of two runs: bodies, by request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from headway.replays.compare import Change, Line, changes

if TYPE_CHECKING:
    from headway.client import Client
    from headway.wire.runs import RunDetail


async def state_changes(client: Client, original: str, fork: str, line: Line) -> list[Change]:
    """What a pair of checkpoints has that is different; nothing where only one side has it.

    Raises NoSuchRun where a checkpoint is not kept any more.
    """
    if line.mark != "~" or line.a is None or line.b is None:
        return []
    (_, one), (_, two) = await asyncio.gather(
        client.state(original, line.a.number), client.state(fork, line.b.number)
    )
    return changes(msgspec.json.decode(one), msgspec.json.decode(two))


async def output_changes(client: Client, a: RunDetail, b: RunDetail) -> list[Change]:
    """What is different in the results of both; a run without one has null."""
    one, two = await asyncio.gather(output(client, a), output(client, b))
    return changes(one, two)


async def output(client: Client, detail: RunDetail) -> Any:
    """A run's result as a value."""
    ref = detail.result_ref
    body = bytes(detail.result) if ref is None else await client.fetch_blob(ref)
    return msgspec.json.decode(body) if body else None
