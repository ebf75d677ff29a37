"""Spans of attempts on their way to the stream SPANS: checked, redacted, bounded again.

A chunk that is over the rate is dropped and counted; its spans keep their numbers, so readers see
the gap. What a task says of its spans is anybody's word: ids that are none are dropped too.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from headway.wire import clean_text, encode
from headway.wire.events import Span, SpanChunk, SpanEvent
from headway_engine.agent.logs import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.events import SpanValue
    from headway.wire.frames import Spans
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.redact import Redactor
    from headway_engine.agent.worker import Worker

CHUNK = 256 * 1024
"""Bytes of one message, about."""
GAP = 1_000_000
"""Spans that one gap counts as at most: its length is the runner's word."""
_TRACE, _SPAN = re.compile(r"\A[0-9a-f]{32}\Z"), re.compile(r"\A[0-9a-f]{16}\Z")


def fits(span: Span) -> bool:
    """Are its ids ids, and does it end after its start?"""
    return (
        _TRACE.match(span.trace) is not None
        and _SPAN.match(span.span) is not None
        and (not span.parent or _SPAN.match(span.parent) is not None)
        and span.start <= span.end
    )


def clean(span: Span, redactor: Redactor) -> Span:
    """The span without secrets, in every text that a task may put there."""

    def text(said: str) -> str:
        return redactor.text(said if clean_text(said) else ascii(said))

    def values(given: dict[str, SpanValue]) -> dict[str, SpanValue]:
        return {text(k): text(v) if isinstance(v, str) else v for k, v in given.items()}

    return msgspec.structs.replace(
        span,
        name=text(span.name),
        message=text(span.message),
        scope=text(span.scope),
        attributes=values(span.attributes),
        events=[SpanEvent(text(e.name), e.at, values(e.attributes)) for e in span.events],
    )


class SpanRelay:
    """Takes frames of spans; `publish` gets (run, epoch, body) of whole chunks."""

    def __init__(
        self,
        config: AgentConfig,
        clock: Callable[[], float],
        publish: Callable[[list[tuple[str, int, bytes]]], None],
        no_secrets: Redactor,
    ) -> None:
        self._clock, self._publish, self._no_secrets = clock, publish, no_secrets
        self._bucket = Bucket(4 * config.log_rate, 4 * config.log_burst, clock())
        self.taken = self.dropped = 0
        """Spans of all attempts since the start."""

    def add(self, worker: Worker, frame: Spans) -> None:
        """Spans of one of its runs; of a run that ended they are nobody's."""
        attempt = worker.slots.get(frame.slot)
        if attempt is None:
            self.dropped += len(frame.spans)
            return
        self._gap(attempt, frame)
        redactor = worker.redactor or self._no_secrets
        first, part, size = frame.first, list[Span](), 0
        for number, span in enumerate(frame.spans, frame.first):
            if not fits(span):
                self._send(attempt, first, part)
                first, part, size = number + 1, [], 0
                self._drop(attempt, 1)
                continue
            ready = clean(span, redactor)
            part.append(ready)
            size += len(encode(ready))
            if size >= CHUNK:
                self._send(attempt, first, part)
                first, part, size = number + 1, [], 0
        self._send(attempt, first, part)

    def _gap(self, attempt: Attempt, frame: Spans) -> None:
        """Numbers that are left out are spans that the runner dropped."""
        if attempt.last_span >= 0:
            missing = frame.first - attempt.last_span - 1
            self._drop(attempt, min(max(0, missing), GAP))
        attempt.last_span = max(attempt.last_span, frame.first + len(frame.spans) - 1)

    def _send(self, attempt: Attempt, first: int, spans: list[Span]) -> None:
        if not spans:
            return
        body = encode(SpanChunk(first, spans, datetime.now(UTC), attempt.assignment.task))
        if not self._bucket.take(len(body), self._clock()):
            self._drop(attempt, len(spans))
            return
        self.taken += len(spans)
        self._publish([(attempt.run, attempt.epoch, body)])

    def _drop(self, attempt: Attempt, count: int) -> None:
        self.dropped += count
        attempt.spans_lost += count
