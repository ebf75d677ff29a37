"""Export to a collector: spans from the stream SPANS, over OTLP, at least once.

One durable consumer serves all engines that have the setting `otlp_endpoint`; a batch is
acknowledged after the collector took it, so a collector that is away gets it later (as long as
SPANS keeps it: seven days), and a crash in between sends it twice: collectors know a span by its
ids. The exporters are OpenTelemetry's own, in a thread; they are imported only here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from headway import subjects
from headway.bus import JetStreamRefused
from headway.errors import HeadwayError, NotReachable
from headway.pull import LateAcks, PullLoop, nak, term, working
from headway.wire import Malformed, decode
from headway.wire.events import SPAN_CHUNK
from headway_engine import streams
from headway_engine.declared import SECOND, Config
from headway_engine.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.msg import Msg
    from opentelemetry.sdk.trace import ReadableSpan

    from headway.bus import Connection
    from headway.wire.events import Span
    from headway_engine.config import EngineConfig

log = logging.getLogger("headway.engine")

BATCH = 32
"""Messages in one export at most; each holds up to 128 spans."""
ACK_WAIT = 60.0
"""Seconds after which a batch comes again of which nobody spoke: longer than an export takes."""
TIMEOUT = 10.0
"""Seconds that the collector gets for one batch, repeats included."""
AGAIN = (1.0, 30.0)
"""Seconds until a batch is tried again that the collector did not take: at first, and at most."""


class NoOtlp(HeadwayError):
    """The export to a collector cannot be set up."""

    code = "no_otlp"


class SpanExporter(Protocol):
    """What we use of OpenTelemetry's exporters."""

    def export(self, spans: Sequence[ReadableSpan], /) -> object:
        """Send them; SpanExportResult.SUCCESS or FAILURE."""
        ...

    def shutdown(self) -> None:
        """Give up what is under way."""
        ...


def consumer() -> Config:
    """The durable consumer of SPANS, shared by all engines that export."""
    return {
        "durable_name": subjects.OTLP_CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT * SECOND),
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "deliver_policy": "all",
    }


def parse_headers(text: str) -> dict[str, str]:
    """`name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS has them; raises ValueError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            # Not shown: it may be the secret itself.
            raise ValueError("otlp_headers: expected name=value, separated by commas")
        found[name.strip().lower()] = value.strip()
    return found


def make_exporter(config: EngineConfig) -> SpanExporter:
    """OpenTelemetry's exporter for the settings; raises NoOtlp without its package."""
    headers = parse_headers(config.otlp_headers)
    try:
        if config.otlp_protocol == "http":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
                OTLPSpanExporter as Http,
            )

            endpoint = config.otlp_endpoint.rstrip("/")
            if not endpoint.endswith("/v1/traces"):
                endpoint += "/v1/traces"
            return Http(endpoint=endpoint, headers=headers, timeout=TIMEOUT)
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc(endpoint=config.otlp_endpoint, headers=headers, timeout=TIMEOUT)
    except ImportError as e:
        raise NoOtlp(f"otlp_endpoint needs: pip install 'headway[otel]' ({e})") from None


def readable(span: Span, *, ns: str, run: str, epoch: int, task: str) -> ReadableSpan | None:
    """The span as OpenTelemetry's exporters take it; None if its ids are none. Pure.

    Its resource is the task: `service.name` is the task's id, `service.namespace` the namespace.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str) -> SpanContext:
        return SpanContext(int(span.trace, 16), int(span_id, 16), False, TraceFlags(1))

    try:
        own = context(span.span)
        parent = context(span.parent) if span.parent else None
    except ValueError:
        return None
    if not own.is_valid:
        return None
    code = {"ok": StatusCode.OK, "error": StatusCode.ERROR}.get(span.status, StatusCode.UNSET)
    return ReadableSpan(
        span.name,
        own,
        parent if parent is not None and parent.is_valid else None,
        Resource({
            "service.name": task or "headway", "service.namespace": ns,
            "headway.run": run, "headway.epoch": epoch,
        }),
        span.attributes,
        [Event(e.name, e.attributes, e.at) for e in span.events],
        kind=SpanKind.__members__.get(span.kind.upper(), SpanKind.INTERNAL),
        status=Status(code, span.message if code is StatusCode.ERROR else None),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope(span.scope or "unknown"),
    )  # fmt: skip


def spans_of(subject: str, body: bytes) -> list[ReadableSpan]:
    """What one message of SPANS holds; raises Malformed."""
    chunk = decode(SPAN_CHUNK, body)
    parts = subject.split(".")
    epoch = subjects.epoch_of_log(subject)
    found = [
        readable(s, ns=parts[2], run=parts[3], epoch=epoch, task=chunk.task) for s in chunk.spans
    ]
    return [span for span in found if span is not None]


class OtlpExport(Service):
    """Reads SPANS and hands it to the collector, one batch at a time."""

    name = "otlp"

    def __init__(
        self, nc: Connection, config: EngineConfig, make: Callable[[EngineConfig], SpanExporter]
    ) -> None:
        super().__init__()
        self._nc, self._config, self._make = nc, config, make
        self._acks = LateAcks(nc)
        self._waiting: asyncio.Queue[Msg] = asyncio.Queue()
        self._failing = 0
        self.exported = self.failed = 0
        """Spans that the collector took; batches that it did not."""
        self.pull = PullLoop(
            nc,
            subjects.SPANS,
            subjects.OTLP_CONSUMER,
            want=self._want,
            deliver=self._deliver,
            repair=self._repair,
        )

    def _want(self) -> int:
        return 0 if self._failing or self.stopping.is_set() else BATCH - self._waiting.qsize()

    def _deliver(self, batch: list[Msg]) -> None:
        for m in batch:
            self._waiting.put_nowait(m)

    async def _repair(self) -> None:
        await streams.ensure_consumer(self._nc, subjects.SPANS, consumer())

    async def run(self) -> None:
        """Until stopped; raises NoOtlp where the exporter's package is missing."""
        exporter = await asyncio.to_thread(self._make, self._config)
        with contextlib.suppress(NotReachable, JetStreamRefused):  # the pull loop repairs it
            await self._repair()
        pulling = asyncio.create_task(self.pull.run())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            while not self.stopping.is_set():
                getting = asyncio.create_task(self._waiting.get())
                await asyncio.wait(
                    (getting, stopping, pulling), return_when=asyncio.FIRST_COMPLETED
                )
                if pulling.done():
                    pulling.result()
                if not getting.done():
                    getting.cancel()
                    continue
                batch = [getting.result()]
                while len(batch) < BATCH and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                await self._export(exporter, batch)
        finally:
            self.pull.stop()
            pulling.cancel()
            stopping.cancel()
            await asyncio.gather(pulling, stopping, return_exceptions=True)
            with contextlib.suppress(Exception):  # the link may be away: they come again
                left = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
                await nak(self._nc, left)
                await self._acks.flush()
            # Not awaited longer than an export takes: it gives up by itself when it is told to.
            await asyncio.to_thread(exporter.shutdown)

    async def _export(self, exporter: SpanExporter, batch: list[Msg]) -> None:
        good: list[Msg] = []
        found: list[ReadableSpan] = []
        for m in batch:
            try:
                found += spans_of(m.subject, m.data)
                good.append(m)
            except Malformed as e:
                log.warning("a message on %s that nobody can read: %s", m.subject, e)
                await term(self._nc, [m], "malformed")
        taken = not found or await asyncio.to_thread(_send, exporter, found)
        if taken:
            self._acks.put(good)
            self.exported += len(found)
            if self._failing:
                log.warning("the collector takes spans again")
            self._failing = 0
            self.passed.fire()
            self.pull.wake()
            return
        if not self._failing:
            log.warning(
                "the collector does not take spans: they wait in SPANS: endpoint=%s",
                self._config.otlp_endpoint,
            )
        self._failing += 1
        self.failed += 1
        delay = min(AGAIN[1], AGAIN[0] * 2 ** min(self._failing - 1, 5))
        with contextlib.suppress(Exception):  # the link may be away: they come after ACK_WAIT
            await working(self._nc, good)
        self.passed.fire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self.stopping.wait()
        for m in good:
            self._waiting.put_nowait(m)


def _send(exporter: SpanExporter, found: list[ReadableSpan]) -> bool:
    from opentelemetry.sdk.trace.export import SpanExportResult

    try:
        return exporter.export(found) is SpanExportResult.SUCCESS
    except Exception as e:  # of a library, about one batch: it is tried again
        log.warning("export: %r", e)
        return False
