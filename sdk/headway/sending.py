"""Enqueues for a site of a hub, as requests to the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw

from headway.enqueues import MESSAGE_BYTES
from headway.errors import TooLarge
from headway.wire import INLINE_LIMIT, encode
from headway.wire.enqueue import Recorded
from headway.wire.sites import SEND_ITEMS, CommandsPage, SendAsk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headway.client import Client
    from headway.enqueues import RunRecord
    from headway.wire.enqueue import EnqueueItem
    from headway.wire.sites import CommandRow


async def send_all(
    client: Client, site: str, items: Sequence[EnqueueItem], ttl: float
) -> list[RunRecord]:
    """What the client knows of each, once the hub keeps them all. Raises as `Client.send`."""
    records: list[RunRecord] = []
    for part in send_parts(items):
        # Before the request: the word on one may be here before the answer.
        made = [client.outbox.record(run) for run, _ in part]
        ask = SendAsk(site, [Raw(body) for _, body in part], ttl, client.outbox.reply)
        page = await client.api("send", ask, CommandsPage)
        for record, row in zip(made, page.commands, strict=True):
            if record.state == "accepted" and row.state not in ("waiting", "overdue"):
                client.outbox.note(recorded_of(row))
        records += made
    return records


def send_parts(items: Sequence[EnqueueItem]) -> Iterator[list[tuple[str, bytes]]]:
    """(run, body) of these, as many together as fit into one request. Raises TooLarge."""
    for item in items:
        if (size := len(bytes(item.payload))) > INLINE_LIMIT:
            raise TooLarge("the payload of a run for a site", size, INLINE_LIMIT)
    part: list[tuple[str, bytes]] = []
    total = 0
    for item in items:
        body = encode(item)
        if part and (len(part) == SEND_ITEMS or total + len(body) > MESSAGE_BYTES):
            yield part
            part, total = [], 0
        part.append((item.run, body))
        total += len(body)
    if part:
        yield part


def recorded_of(row: CommandRow) -> Recorded:
    """What became of an enqueue that is over, as the word on any other one."""
    word: Literal["recorded", "duplicate", "rejected"] = "rejected"
    if row.state == "done":
        word = "duplicate" if row.winner else "recorded"
    reason = row.message if word == "rejected" else ""
    return Recorded(row.run, word, row.winner, row.code, reason)
