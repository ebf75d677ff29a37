"""Spans in SPANS: read back by the api, and exported to real OTLP receivers."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from headway import subjects
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.events import Span, SpanChunk, SpanEvent
from support.collectors import grpc_collector, http_collector
from support.engines import calling, config_for, running_engine
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from headway.bus import Connection
    from support.collectors import Received

pytestmark = pytest.mark.timeout(240)

T, A, B = "0123456789abcdef0123456789abcdef", "00000000000000aa", "00000000000000bb"
KINDS = {"grpc": grpc_collector, "http": http_collector}


@contextmanager
def collector(kind: str) -> Generator[tuple[Received, dict[str, str]]]:
    """A receiver, and the engine's settings that lead to it."""
    opened: Callable[[], AbstractContextManager[Received]] = KINDS[kind]
    with opened() as received:
        yield received, settings(kind, received.port)


def settings(kind: str, port: int) -> dict[str, str]:
    return {
        "otlp_endpoint": f"http://127.0.0.1:{port}",
        "otlp_protocol": kind,
        "otlp_headers": "X-Team=abc",
    }


def two_spans(first: int = 1) -> SpanChunk:
    inner = Span(
        T, B, "GET /x", 5, 9, parent=A, kind="client", status="error", message="500",
        attributes={"n": 3, "ok": True}, events=[SpanEvent("retry", 6, {"k": "v"})], scope="httpx",
    )  # fmt: skip
    return SpanChunk(first, [inner, Span(T, A, "outer", 1, 10)], datetime.now(UTC), "research")


async def said(nc: Connection, run: str, epoch: int, body: bytes) -> None:
    """As an agent publishes it."""
    await nc.publish(subjects.span("default", run, epoch), body)
    await nc.flush()


async def test_the_api_reads_the_spans_of_a_run_and_of_one_attempt(
    nats: str, database: str
) -> None:
    async with running_engine(config_for(nats, database)), calling(nats) as caller:
        run, other = new_run_id(), new_run_id()
        for r, epoch in ((run, 1), (run, 2), (other, 1)):
            await said(caller.nc, r, epoch, encode(two_spans()))

        async def page() -> bool:
            return len((await caller.api("spans", {"run": run}))["spans"]) == 2

        await until(page)
        found = (await caller.api("spans", {"run": run, "attempt": 2}))["spans"]
        assert [one["epoch"] for one in found] == [2]
        assert [s["name"] for s in found[0]["chunk"]["spans"]] == ["GET /x", "outer"]
        one = await caller.api("spans", {"run": run, "n": 1})
        assert (len(one["spans"]), one["more"]) == (1, True)
        assert (await caller.api("spans", {"run": new_run_id()}))["spans"] == []
        refused = await caller.api_raw("spans", {"run": "x"})
        assert refused.error is not None
        assert refused.error.code == "bad_request"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_collector_gets_each_span_whole(nats: str, database: str, kind: str) -> None:
    with collector(kind) as (received, options):
        async with (
            running_engine(config_for(nats, database, **options)) as engine,
            calling(nats) as caller,
        ):
            run = new_run_id()
            await said(caller.nc, run, 3, b"no span at all")
            await said(caller.nc, run, 3, encode(two_spans()))
            await until(lambda: len(received.spans()) == 2, what="two spans")
            (resource, inner), (_, outer) = received.spans()
            assert resource["service.name"] == "research"
            assert resource["service.namespace"] == "default"
            assert resource["headway.run"] == run
            assert (inner.trace_id.hex(), inner.span_id.hex()) == (T, B)
            assert (inner.parent_span_id, outer.parent_span_id) == (outer.span_id, b"")
            assert (inner.name, inner.kind, inner.status.message) == ("GET /x", 3, "500")
            assert (inner.start_time_unix_nano, inner.end_time_unix_nano) == (5, 9)
            assert {a.key for a in inner.attributes} == {"n", "ok"}
            assert inner.events[0].name == "retry"
            assert received.headers[0]["x-team"] == "abc"
            await until(lambda: exported(engine) == 2)


def exported(engine: object) -> int:
    return next(s.exported for s in engine.services if s.name == "otlp")  # type: ignore[attr-defined]  # pyright: ignore


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_collector_refuses_comes_again(nats: str, database: str, kind: str) -> None:
    with collector(kind) as (received, options):
        received.refuse = 1
        async with (
            running_engine(config_for(nats, database, **options)),
            calling(nats) as caller,
        ):
            await said(caller.nc, new_run_id(), 1, encode(two_spans()))
            await until(lambda: len(received.spans()) == 2, what="the second try")
            assert received.refuse == 0


async def test_what_one_engine_did_not_bring_home_the_next_one_does(
    nats: str, database: str
) -> None:
    with grpc_collector() as gone:
        options = settings("grpc", gone.port)
    async with calling(nats) as caller:
        async with running_engine(config_for(nats, database, **options)) as engine:
            otlp = next(s for s in engine.services if s.name == "otlp")
            before = otlp.passed.count
            await said(caller.nc, new_run_id(), 1, encode(two_spans()))
            await otlp.passed.after(before)
            assert exported(engine) == 0
        with grpc_collector(gone.port) as received:
            async with running_engine(config_for(nats, database, **options)):
                await until(lambda: len(received.spans()) == 2, 30, what="the spans")
