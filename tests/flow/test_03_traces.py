"""One trace from whoever enqueues to a child's HTTP call: collector, command line, console."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from headway_tui.link import Link
from headway_tui.model.nodes import walk
from headway_tui.model.timeline import Timeline
from headway_tui.spanfeed import SpanFeed
from support import traced_tasks
from support.collectors import grpc_collector, http_collector
from support.live import headway, live
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Generator

    from support.collectors import Received
    from support.live import Live

TRACE, CALLER = 0x0123456789ABCDEF0123456789ABCDEF, 0xAABBCCDDEEFF0011
NAMES = {
    "attempt delegates", "plan", "enqueue looks-up", "await child", "checkpoint",
    "attempt looks-up", "step('get')", "GET /",
}  # fmt: skip


@contextmanager
def web() -> Generator[str]:
    """A service that a task may call; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def caller_s_span() -> Generator[None]:
    """As in a program that is itself being traced."""
    span = NonRecordingSpan(SpanContext(TRACE, CALLER, False, TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_trace_is_whole_from_the_caller_to_the_call_of_a_child(
    nats: str, database: str, protocol: str
) -> None:
    with web() as url, (grpc_collector if protocol == "grpc" else http_collector)() as received:
        async with live(
            nats, database, tasks=traced_tasks,
            otlp_endpoint=f"http://127.0.0.1:{received.port}", otlp_protocol=protocol,
        ) as stack:  # fmt: skip
            with caller_s_span():
                run = await stack.start(traced_tasks.delegates, url)
            assert await run.result(60) == "hello"
            await until(lambda: {s.name for _, s in received.spans()} >= NAMES, what="the spans")
            whole(received)
            if protocol == "grpc":
                await in_the_console(stack, nats, run.id)
                told = await headway(nats, "trace", run.id)
                assert "await child" in told.stdout


def whole(received: Received) -> None:
    """Each span hangs under the one that was current where it was made."""
    spans = {s.name: s for _, s in received.spans()}
    assert {s.trace_id for s in spans.values()} == {TRACE.to_bytes(16, "big")}
    parents = {name: s.parent_span_id for name, s in spans.items()}
    assert parents["attempt delegates"] == CALLER.to_bytes(8, "big")
    for name, above in (
        ("plan", "attempt delegates"), ("enqueue looks-up", "plan"), ("await child", "plan"),
        ("checkpoint", "attempt delegates"), ("step('get')", "attempt looks-up"),
        ("GET /", "step('get')"),
    ):  # fmt: skip
        assert parents[name] == spans[above].span_id, name
    # The child was enqueued inside of `plan`: that is what its attempt hangs under.
    assert parents["attempt looks-up"] == spans["plan"].span_id


async def in_the_console(stack: Live, nats: str, run: str) -> None:
    """The same in the waterfalls of parent and child."""
    child = next(e.data["child"] for e in await stack.events(run) if "child" in e.data)
    link = Link(settings_for(nats))
    link.client, link.connected, link.lives = stack.client, True, 1
    for number, labels in ((run, {"plan", "await child"}), (str(child), {"get", "GET /"})):
        timeline = await watched(link, stack, number, labels)
        assert timeline.spans.missing == 0
        if "GET /" in labels:
            step = next(n for n in walk(timeline.nodes) if n.kind == "step")
            assert [(n.label, n.note) for n in step.children] == [("GET /", "200")]


async def watched(link: Link, stack: Live, run: str, labels: set[str]) -> Timeline:
    """A run's timeline as its screen comes to it."""
    timeline = Timeline()
    for event in await stack.events(run):
        timeline.add(event)
    feed = asyncio.ensure_future(SpanFeed(link, run, timeline.add_spans).run())
    try:
        await until(lambda: labels <= {n.label for n in walk(timeline.nodes)}, what=str(labels))
    finally:
        feed.cancel()
        await asyncio.wait([feed])
    return timeline
