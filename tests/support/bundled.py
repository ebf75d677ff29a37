"""Bundles made of recorded facts, sound and otherwise: no server."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.bundle import Bundle, BundleWriter, Manifest
from headway.bundle.format import Chunk, RunFile, TaskFile, member
from headway.wire import BlobRef, ErrorInfo, encode
from headway.wire.bundles import BundleMark
from headway.wire.events import Event, LogChunk, Span, SpanChunk
from headway.wire.fleet import TaskSpec
from headway.wire.runs import CheckpointRow, RunRow, UsageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = "01JD9K4W2M8QZ5V7N3XBTRFHCA"
CHILD = "01JD9K4W2M8QZ5V7N3XBTRFHCB"


def row(run: str = RUN, **fields: Any) -> RunRow:
    """A run that failed."""
    usual: dict[str, Any] = {
        "attempt": 2, "max_attempts": 2, "epoch": 2, "n": 9, "checkpoint": 2,
        "checkpoint_name": "turn-2", "started_at": T0, "ended_at": T0 + timedelta(seconds=60),
        "error": ErrorInfo("RateLimitError", "429", "Traceback"), "tags": ("demo",),
        "cost_usd": 0.25, "tokens_in": 10,
    }  # fmt: skip
    return RunRow(run, "research", "failed", "agents", T0, **usual | fields)


def events() -> list[Event]:
    """Two attempts."""
    told: list[tuple[float, int, str, dict[str, Any]]] = [
        (0, 0, "queued", {}), (1, 1, "starting", {"attempt": 1, "agent": "edge-1"}),
        (1, 1, "started", {}), (9, 1, "checkpoint", {"number": 1, "name": "turn-1", "size": 9}),
        (20, 1, "retrying", {"error": {"type": "RateLimitError", "message": "429"}}),
        (30, 2, "starting", {"attempt": 2, "agent": "edge-2"}),
        (31, 2, "started", {"resumed_from": 1}),
        (40, 2, "checkpoint", {"number": 2, "name": "turn-2", "size": 9}),
        (60, 2, "failed", {"error": {"type": "RateLimitError", "message": "429"}, "lines": 2}),
    ]  # fmt: skip
    return [
        Event(n, T0 + timedelta(seconds=at), kind, epoch, data=data,
              target="FAILED" if kind == "failed" else "")
        for n, (at, epoch, kind, data) in enumerate(told, 1)
    ]  # fmt: skip


def lines(values: Sequence[Any]) -> bytes:
    """As a `.jsonl` member has them."""
    return b"".join(encode(v) + b"\n" for v in values)


def members(run: str = RUN, made: RunRow | None = None) -> dict[str, bytes]:
    """What a bundle holds of one run."""
    states = {n: b'{"turn":%d,"model":"sonnet"}' % n for n in (1, 2)}
    marks = [
        BundleMark("ask-0", "step", T0, "ask", value=Raw(b'"a"'), size=3),
        BundleMark("ask-2", "step", T0, "ask", after=2, value=Raw(b'"c"'), size=3),
        BundleMark("large", "step", T0, "ask", size=9, ref=BlobRef("values/1.json", 9, "")),
        BundleMark("mail", "once", T0, "send", token="t-1", after=2, value=Raw(b"1"), size=1),
    ]
    chunks = [(1, LogChunk(1, ["INFO one"], T0)), (2, LogChunk(1, ["INFO two", "\x1b[2Jx"], T0))]
    span = Span("0" * 32, "1" * 16, "GET /", 10**18, 10**18 + 10**9)
    found = {
        "run.json": encode(RunFile(made or row(run), run, "it failed")),
        "payload.json": b'{"topic":"tides"}',
        "result.json": b"null",
        "task.json": encode(TaskFile(TaskSpec("research"))),
        "events.jsonl": lines(events()),
        "checkpoints.jsonl": lines([
            CheckpointRow(n, f"turn-{n}", len(states[n]), T0, n, schema="ab") for n in states
        ]),
        **{f"states/{n}.json": body for n, body in states.items()},
        "values/1.json": b'{"hits":5}',
        "marks.jsonl": lines(marks),
        "logs.jsonl": lines([Chunk(e, Raw(encode(c))) for e, c in chunks]),
        "spans.jsonl": lines([Chunk(1, Raw(encode(SpanChunk(1, [span], T0))))]),
        "usage.jsonl": lines([UsageRow("haiku", 1, 1, 10, 0, 0.25)]),
    }  # fmt: skip
    return {member(run, name): body for name, body in found.items()}


def manifest(**fields: Any) -> Manifest:
    """Who made it."""
    usual: dict[str, Any] = {
        "by": "ana@edge", "namespace": "default", "server": "nats://here:4222", "runs": [RUN],
        "engine": "0.1.0", "headway": "0.1.0", "members": [],
    }  # fmt: skip
    return Manifest("headway-bundle", 1, RUN, T0 + timedelta(hours=1), **usual | fields)


def packed(found: dict[str, bytes] | None = None, made: Manifest | None = None) -> bytes:
    """A whole file."""
    file = io.BytesIO()
    writer = BundleWriter(file)
    for name, body in (found or members()).items():
        writer.add(name, body)
    writer.close(made or manifest())
    return file.getvalue()


def opened(data: bytes) -> Bundle:
    """The file, read."""
    return Bundle(io.BytesIO(data))


def used(bundle: Bundle) -> int:
    """Read all that a bundle holds, as screens and commands do; how many rows."""
    count = 0
    readers: list[Callable[[str], Any]] = [
        bundle.run, bundle.task, bundle.usage, bundle.checkpoints, bundle.events, bundle.logs,
        bundle.spans,
    ]  # fmt: skip
    for run in bundle.runs:
        for read in readers:
            found = read(run)
            count += len(list(found)) if hasattr(found, "__iter__") else 1
        for mark in bundle.marks(run):
            bundle.value(run, mark)
        for name in ("payload.json", "result.json"):
            bundle.body(run, name)
        for point in bundle.checkpoints(run):
            bundle.state(run, point.number)
    return count
