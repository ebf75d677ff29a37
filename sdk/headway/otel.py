"""Headway as an exporter of OpenTelemetry inside a task's process.

Finished spans are gathered for a moment, bounded in number and size, and go over the channel. What
is over the rate, or does not fit, is dropped and takes its number: readers see the gap. Imported
only where the task itself has imported OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
)

from headway._version import __version__
from headway.context import current_or_none
from headway.ids import number_of
from headway.spending import clean_model, spending_of
from headway.wire import encode
from headway.wire.events import (
    SPAN_ATTRIBUTES,
    SPAN_EVENTS,
    SPAN_NAME,
    SPAN_TEXT,
    Span,
    SpanEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from headway.context import AttemptInfo, Context
    from headway.wire import ErrorInfo
    from headway.wire.events import SpanValue

FLUSH_AFTER = 0.1
"""Seconds that spans wait for more."""
FRAME_SPANS, FRAME_BYTES = 64, 256 * 1024
"""Spans, and about how many bytes, in one frame at most."""
TEXT = 8192
"""Characters of all texts of one span together; what comes after is left out."""
RATE, BURST = 500.0, 2000.0
"""Spans a second that a process may send, and at once; the rest is dropped."""


class Exporter(SpanProcessor):
    """Takes every finished span of the process; `send` gets them on the loop."""

    def __init__(self, send: Callable[[int, int, list[Span]], bool]) -> None:
        """Hooks itself into the task's tracer provider, or sets one if there is none."""
        self._send, self._loop = send, asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._attempts: dict[int, Context] = {}
        """Span id to the attempt that it belongs to, while it is open."""
        self._waiting: dict[int, list[tuple[int, Span]]] = {}
        self._numbers: dict[int, int] = {}
        """Per slot: spans that ended so far, dropped ones included."""
        self._tokens, self._at = BURST, time.monotonic()
        self._scheduled = False
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
            trace.set_tracer_provider(provider)
        provider.add_span_processor(self)
        self.verbs = Verbs(provider.get_tracer("headway", __version__))

    # --- called by OpenTelemetry, from any thread

    def on_start(self, span: Any, parent_context: otel_context.Context | None = None) -> None:
        """Remember whose it is: it may end in another context."""
        ctx = current_or_none()
        if ctx is not None and len(self._attempts) < 20_000:
            self._attempts[span.get_span_context().span_id] = ctx

    def on_end(self, span: ReadableSpan) -> None:
        """Take it, or drop it."""
        c = span.get_span_context()
        if c is None:
            return
        ctx = self._attempts.pop(c.span_id, None)
        if ctx is None:
            return  # of no attempt: an import, a thread of the process's own
        spend(ctx, span.attributes or {})
        slot = ctx.slot
        with self._lock:
            number = self._numbers[slot] = self._numbers.get(slot, 0) + 1
            now = time.monotonic()
            self._tokens = min(BURST, self._tokens + (now - self._at) * RATE)
            self._at = now
            if self._tokens < 1:
                return
            self._tokens -= 1
            self._waiting.setdefault(slot, []).append((number, record(span, c)))
            scheduled, self._scheduled = self._scheduled, True
        if not scheduled:
            self._loop.call_soon_threadsafe(self._loop.call_later, FLUSH_AFTER, self.flush)

    # --- on the loop

    def flush(self) -> None:
        """Send what waits: in frames of spans whose numbers follow each other."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._scheduled = False
        for slot, found in waiting.items():
            begin = size = 0
            for i in range(1, len(found) + 1):
                size += len(encode(found[i - 1][1]))
                gap = i == len(found) or found[i][0] != found[i - 1][0] + 1
                if gap or i - begin == FRAME_SPANS or size >= FRAME_BYTES:
                    # Where there is no room now they are lost: their numbers show it.
                    self._send(slot, found[begin][0], [s for _, s in found[begin:i]])
                    begin, size = i, 0

    def end(self, slot: int) -> None:
        """The attempt is over: what it left goes now."""
        self.flush()
        self._numbers.pop(slot, None)


class Verbs:
    """See `headway.spans.Tracer`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def attempt(self, info: AttemptInfo) -> Generator[trace.Span]:
        """The attempt's span: under the enqueue's, or in the trace of its root run."""
        parent = trace.set_span_in_context(
            NonRecordingSpan(parent_of(info)), otel_context.Context()
        )
        attributes = {
            "headway.run": info.run, "headway.task": info.task, "headway.epoch": info.epoch,
            "headway.attempt": info.attempt, "headway.queue": info.queue,
            "headway.namespace": info.namespace,
        }  # fmt: skip
        with self._tracer.start_as_current_span(
            f"attempt {info.task}", parent, attributes=attributes
        ) as span:
            yield span

    def failed(self, told: trace.Span, error: ErrorInfo) -> None:
        """The attempt ended without a result."""
        text = f"{error.type}: {error.message}"[:SPAN_TEXT]
        told.set_status(Status(StatusCode.ERROR, text))

    @contextmanager
    def span(self, name: str, attributes: dict[str, str | int]) -> Generator[trace.Span]:
        """A verb's span."""
        named = {f"headway.{k}": v for k, v in attributes.items()}
        with self._tracer.start_as_current_span(name, attributes=named) as span:
            yield span


def spend(ctx: Context, attributes: Mapping[str, Any]) -> None:
    """Count what an instrumented client of a language model says of its use."""
    tokens = [attributes.get(f"gen_ai.usage.{way}_tokens") for way in ("input", "output")]
    good = [n if isinstance(n, int) and 0 <= n < 2**53 else 0 for n in tokens]
    if not any(good):
        return
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model") or ""
    spending_of(ctx).add(clean_model(str(model)), good[0], good[1], 0.0, seen=True)


def parent_of(info: AttemptInfo) -> SpanContext:
    """The span that an attempt hangs under.

    With a traceparent from the enqueue, that. Else all attempts of a run, and all its children,
    share a trace whose id is the root run's ULID (both have 128 bits).
    """
    parts = info.trace.split("-")
    if len(parts) == 4:
        try:
            context = SpanContext(
                int(parts[1], 16), int(parts[2], 16), True, TraceFlags(int(parts[3], 16))
            )
        except ValueError:
            pass
        else:
            if context.is_valid:
                return context
    span = int.from_bytes(sha256(info.run.encode()).digest()[:8], "big") or 1
    return SpanContext(number_of(info.root or info.run), span, True, TraceFlags(1))


def record(span: ReadableSpan, context: SpanContext) -> Span:
    """A finished span as it travels, cut to its limits."""
    room = Room()
    attributes = attributes_of(span.attributes or {}, room)
    events = [
        SpanEvent(e.name[:SPAN_NAME], e.timestamp, attributes_of(e.attributes or {}, room))
        for e in span.events[-SPAN_EVENTS:]
    ]
    start = span.start_time or 0
    scope = span.instrumentation_scope
    return Span(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        span.name[:SPAN_NAME],
        start,
        max(start, span.end_time or start),
        parent=f"{span.parent.span_id:016x}" if span.parent is not None else "",
        kind=span.kind.name.lower(),
        status=span.status.status_code.name.lower(),
        message=(span.status.description or "")[:SPAN_TEXT],
        attributes=attributes,
        events=events,
        scope=(scope.name if scope else "")[:SPAN_NAME],
    )


class Room:
    """How many characters one span may still take."""

    def __init__(self) -> None:
        self.left = TEXT


def attributes_of(given: Mapping[str, Any], room: Room) -> dict[str, SpanValue]:
    """At most SPAN_ATTRIBUTES of them, as plain values of bounded length."""
    found: dict[str, SpanValue] = {}
    for key, value in given.items():
        if len(found) == SPAN_ATTRIBUTES or room.left <= 0:
            break
        plain = value_of(value)
        room.left -= len(key) + (len(plain) if isinstance(plain, str) else 8)
        found[key[:SPAN_NAME]] = plain
    return found


def value_of(value: Any) -> SpanValue:
    """A plain value; what is none is told in words."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:SPAN_TEXT]
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)[:SPAN_TEXT]
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # nan and inf are no JSON
    if isinstance(value, (list, tuple)):
        return ", ".join(str(v) for v in value[:64])[:SPAN_TEXT]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # anybody's
    return str(value)[:SPAN_TEXT]
