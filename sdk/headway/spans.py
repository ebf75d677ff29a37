"""Spans of a task: what its libraries and its verbs do in time, told beside the run's events.

Nothing happens unless the task's own code imports OpenTelemetry (an instrumented client, or the API
itself): then `install` makes Headway an exporter of its spans, and attempt, steps, once blocks,
checkpoints and child calls are spans too, in one trace from the enqueue to the last child. This
module imports OpenTelemetry never; `headway.otel` does.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.context import AttemptInfo
    from headway.wire import ErrorInfo
    from headway.wire.events import Span

SWITCH = "HEADWAY_SPANS"
"""`off` in the task's environment: no spans at all."""

Scope = AbstractContextManager[Any]


class Tracer(Protocol):
    """What the verbs need of OpenTelemetry."""

    def attempt(self, info: AttemptInfo) -> Scope:
        """The span of the attempt, current while it runs."""
        ...

    def failed(self, told: Any, error: ErrorInfo) -> None:
        """The attempt, whose span that is, ended without a result."""
        ...

    def span(self, name: str, attributes: dict[str, str | int]) -> Scope:
        """A span of a verb, current inside."""
        ...


tracer: Tracer | None = None
"""None = no spans in this process: whoever makes one looks here first."""

_NOTHING: Scope = nullcontext()


def span(name: str, /, **attributes: str | int) -> Scope:
    """A verb's span while the `with` block runs; nothing without a tracer."""
    return _NOTHING if tracer is None else tracer.span(name, attributes)


def install(send: Callable[[int, int, list[Span]], bool], switch: str) -> Any:
    """In a runner, after the task's modules were imported: export its spans by `send`.

    `send(slot, first, spans)`, on the loop; False = there is no room. Returns the exporter, or None
    where the task does not use OpenTelemetry, its SDK is missing, or `switch` is off.
    """
    global tracer
    if switch.lower() in ("off", "0", "false") or "opentelemetry.trace" not in sys.modules:
        return None
    try:
        from headway.otel import Exporter
    except ImportError:  # the API alone: a library mentions it, nobody makes spans
        return None
    exporter = Exporter(send)
    tracer = exporter.verbs
    return exporter


def traceparent() -> str:
    """The W3C traceparent of the span that is current here; empty = there is none."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return ""
    try:
        c = module.get_current_span().get_span_context()
        if not c.is_valid:
            return ""
        return f"00-{c.trace_id:032x}-{c.span_id:016x}-{int(c.trace_flags):02x}"
    except AttributeError:  # it is being imported at this moment
        return ""
