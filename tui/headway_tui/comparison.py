"""What the compare pane reads of two runs, and the rows that it becomes, view by view."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from headway.errors import HeadwayError
from headway.follow import stored_logs
from headway.lines import LineNumbers
from headway.replays import compare
from headway.replays.reading import output_changes, state_changes
from headway.wire.events import LogChunk
from headway_tui.model.compared import Row, change_rows, head_row, log_rows, timeline_rows
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway.client import Client
    from headway.wire.runs import RunDetail

_CHUNK = msgspec.json.Decoder(LogChunk)
STATES = 50
"""Pairs of checkpoints whose states are compared."""


class Comparison:
    """An original and its fork."""

    def __init__(self, a: RunDetail, b: RunDetail) -> None:
        self.a, self.b = a, b
        self.numbers = compare.numbers(a, b)
        self.lines = compare.timeline(a, b)

    @classmethod
    async def read(cls, client: Client, original: str, fork: str) -> Comparison:
        """Both runs; raises HeadwayError."""
        return cls(*await asyncio.gather(client.run(original), client.run(fork)))

    async def rows(self, client: Client, view: str) -> list[Row]:
        """Which two runs they are, and the rows of a view; what cannot be read is said there."""
        head = head_row(self.a.row, self.b.row)
        try:
            return [head, *await getattr(self, f"_{view}")(client)]
        except HeadwayError as e:
            return [head, Row(" ", safe(str(e), 300), role="warning", wide=True)]

    async def _timeline(self, client: Client) -> list[Row]:
        return timeline_rows(self.lines)

    async def _state(self, client: Client) -> list[Row]:
        rows: list[Row] = []
        pairs = [p for p in compare.checkpoints(self.lines) if p.mark == "~"]
        for pair in pairs[:STATES]:
            told = await state_changes(client, self.a.row.run, self.b.row.run, pair)
            rows += change_rows(f"◆{pair.b.number if pair.b else 0} {pair.name}", told)
        same = "no checkpoint of both has another state"
        return rows or [Row(" ", same, role="muted", wide=True)]

    async def _output(self, client: Client) -> list[Row]:
        told = change_rows("output", await output_changes(client, self.a, self.b))
        return told or [Row(" ", "both have the same output", role="muted", wide=True)]

    async def _logs(self, client: Client) -> list[Row]:
        one, two = await asyncio.gather(
            _lines(client, self.a.row.run), _lines(client, self.b.row.run)
        )
        pairs = await asyncio.to_thread(compare.side_by_side, one, two)
        return log_rows(pairs) or [Row(" ", "neither wrote a line", role="muted", wide=True)]


async def _lines(client: Client, run: str) -> list[str]:
    """The stored output of a run, its last lines."""
    lines: list[str] = []
    numbers = LineNumbers()
    async for _, epoch, body in stored_logs(client, run):
        chunk = _CHUNK.decode(body)
        if numbers.missing(epoch, chunk) is not None:
            lines += chunk.lines
        del lines[: max(0, len(lines) - compare.LOG_LINES)]
    return lines
