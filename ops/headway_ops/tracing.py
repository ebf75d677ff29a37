"""trace: the spans of a run as a waterfall in text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import texts
from headway.safe import safe_line
from headway.wire import Malformed, decode
from headway.wire.events import SPAN_CHUNK, Span
from headway.wire.runs import SpansAsk, SpansPage
from headway_ops import link, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway.client import Client

WIDTH = 32
"""Columns of the bars."""
NAME = 44
DEPTH = 12
"""Levels that are indented; deeper spans stand at the last one."""


def trace(run: str, *, attempt: int, as_json: bool) -> None:
    """Print what SPANS holds of the run by now."""
    link.prefix_of(run)

    async def work(client: Client) -> None:
        full = await link.known(client, run)
        found, missing = await stored_spans(client, full, attempt)
        if as_json:
            say.rows([{"attempt": epoch, "span": span} for epoch, span in found])
            return
        if not found:
            say.tell(
                "no spans: they are there if the task imports OpenTelemetry, or a library that it"
                " instruments"
            )
            return
        for line in waterfall([span for _, span in found]):
            say.line(line)
        if missing:
            say.tell(f"{missing} spans are missing: over the rate, or thrown away since")

    link.with_client(work)


async def stored_spans(
    client: Client, run: str, attempt: int = 0
) -> tuple[list[tuple[int, Span]], int]:
    """((epoch, span) in the order of their end, how many are missing between them).

    Raises Refused and NotReachable.
    """
    found: list[tuple[int, Span]] = []
    expected: dict[int, int] = {}
    missing, after, more = 0, 0, True
    while more:
        ask = SpansAsk(run, after, attempt)
        page = await client.api("spans", ask, SpansPage)
        for one in page.spans:
            after = one.seq
            try:
                chunk = decode(SPAN_CHUNK, bytes(one.chunk))
            except Malformed:
                continue
            missing += max(0, chunk.first - expected.get(one.epoch, 1))
            expected[one.epoch] = chunk.first + len(chunk.spans)
            found += [(one.epoch, span) for span in chunk.spans]
        more = page.more
    return found, missing


def waterfall(spans: Iterable[Span]) -> list[str]:
    """One line a span: name (indented under its parent), bar on a common time axis, duration.

    Pure. Spans whose parent is not there begin a tree of their own; circles are cut.
    """
    known = {s.span: s for s in spans}
    children: dict[str, list[Span]] = {}
    for s in known.values():
        parent = s.parent if s.parent in known and s.parent != s.span else ""
        children.setdefault(parent, []).append(s)
    if not known:
        return []
    begin = min(s.start for s in known.values())
    whole = max(1, max(s.end for s in known.values()) - begin)
    lines: list[str] = []
    told: set[str] = set()

    def tell(top: Span) -> None:
        stack = [(top, 0)]
        while stack:
            s, depth = stack.pop()
            if s.span in told:
                continue
            told.add(s.span)
            lines.append(_line(s, depth, begin, whole))
            under = sorted(children.get(s.span, ()), key=lambda c: c.start, reverse=True)
            stack += [(c, depth + 1) for c in under]

    for s in sorted(children.get("", ()), key=lambda s: s.start):
        tell(s)
    for s in sorted(known.values(), key=lambda s: s.start):  # circles, which no root leads to
        tell(s)
    return lines


def _line(s: Span, depth: int, begin: int, whole: int) -> str:
    name = "  " * min(depth, DEPTH) + safe_line(s.name, NAME)
    left = min(WIDTH - 1, (s.start - begin) * WIDTH // whole)
    size = max(1, min(WIDTH - left, (s.end - s.start) * WIDTH // whole))
    bar = (" " * left + "=" * size).ljust(WIDTH)
    failed = ""
    if s.status == "error":
        failed = f"  error: {safe_line(s.message, 80)}" if s.message else "  error"
    return f"{name:<{NAME}} |{bar}| {texts.span((s.end - s.start) / 1e9):>7}{failed}"
