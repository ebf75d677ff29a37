"""Tasks that make OpenTelemetry spans; run in a process of their own."""

from __future__ import annotations

import urllib.request
from typing import Any

from opentelemetry import trace

from headway import checkpoint, once, step, task

tracer = trace.get_tracer("a-library")


@task
async def traced(secret: str) -> str:
    with tracer.start_as_current_span("outer") as span:
        span.set_attribute("token", secret)
        span.add_event("seen", {"what": secret})

        def work() -> str:
            with tracer.start_as_current_span("GET /x", kind=trace.SpanKind.CLIENT):
                return "done"

        await step("fetch", work)
        await once("send", work)
    await checkpoint("one", {"n": 1})
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@task(isolation="shared")
async def floods(count: int) -> None:
    for number in range(count):
        with tracer.start_as_current_span(f"span {number}"):
            pass


@task
async def breaks() -> None:
    await step("bad", bad)


async def bad() -> None:
    raise ValueError("no good")


@task
async def asks() -> None:
    """An instrumented client of a language model."""
    with tracer.start_as_current_span("chat m") as span:
        span.set_attribute("gen_ai.request.model", "m")
        span.set_attribute("gen_ai.usage.input_tokens", 40)
        span.set_attribute("gen_ai.usage.output_tokens", 2)
    await checkpoint("one", {})


@task
async def looks_up(url: str) -> str:
    """Calls another service, as an instrumented HTTP client does."""

    def get() -> str:
        with (
            tracer.start_as_current_span("GET /", kind=trace.SpanKind.CLIENT) as span,
            urllib.request.urlopen(url, timeout=10) as answer,
        ):
            span.set_attribute("http.response.status_code", answer.status)
            return str(answer.read().decode())

    return await step("get", get)


@task
async def delegates(url: str) -> str:
    with tracer.start_as_current_span("plan"):
        found = await looks_up.call(url)
    await checkpoint("found", {"found": found})
    return found


def all_tasks() -> list[Any]:
    """What a test deploys."""
    return [traced, floods, breaks, asks, looks_up, delegates]
