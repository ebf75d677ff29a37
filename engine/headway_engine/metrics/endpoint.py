"""The HTTP endpoint `/metrics`, served by prometheus_client from a thread of its own.

A scrape asks the event loop for the numbers, so they are of one moment; a loop that does not answer
within 5 s fails the scrape, which an alert on `up` sees. Nothing is done between two scrapes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from typing import TYPE_CHECKING, Any, cast

from headway.errors import HeadwayError
from headway_engine.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from headway_engine.metrics.families import Family
    from headway_engine.metrics.timing import Timing

log = logging.getLogger("headway.engine")

PATIENCE = 5.0
"""Seconds that a scrape waits for the event loop."""


class NoMetrics(HeadwayError):
    """The endpoint for metrics cannot be opened."""

    code = "no_metrics"


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, `[::1]:PORT` or `PORT`; loopback if no host is given.

    Raises ValueError.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"metrics_listen: expected HOST:PORT or PORT, got {text!r}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class Endpoint(Service):
    """Serves what `gather` gives, until it is stopped."""

    name = "metrics"

    def __init__(self, listen: str, gather: Callable[[], list[Family]]) -> None:
        """`listen`: see `parse_listen`, which has seen it; port 0 = a free one."""
        super().__init__()
        self._listen, self._gather = parse_listen(listen), gather
        self.address: tuple[str, int] | None = None
        """Where it listens."""

    async def run(self) -> None:
        """Listen until stopped; raises NoMetrics."""
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ModuleNotFoundError:
            raise NoMetrics("metrics_listen needs: pip install 'headway[engine]'") from None
        host, port = self._listen
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(asyncio.get_running_loop(), self._gather))
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as e:
            why = e.strerror or str(e)
            raise NoMetrics(f"metrics_listen {host}:{port}: {why}: choose another port") from None
        self.address = (host, int(server.server_port))
        log.info("metrics: http://%s:%d/metrics", *self.address)
        self.passed.fire()
        try:
            await self.stopping.wait()
        finally:
            # A scrape that is being answered may wait for this loop: it must not be blocked.
            await asyncio.shield(asyncio.to_thread(_close, server, thread))


def _close(server: Any, thread: Any) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


class _Collector:
    """What prometheus_client asks in a thread of its own, at each scrape."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gather: Callable[[], list[Family]]) -> None:
        self._loop, self._gather = loop, gather

    def collect(self) -> Iterator[Metric]:
        """The families of one moment."""
        future: concurrent.futures.Future[list[Family]] = concurrent.futures.Future()

        def ask() -> None:
            try:
                future.set_result(self._gather())
            except Exception as e:  # the scraper hears of it, the engine goes on
                future.set_exception(e)

        self._loop.call_soon_threadsafe(ask)
        return iter([_metric(family) for family in future.result(PATIENCE)])


def _metric(family: Family) -> Metric:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    names = list(family.samples[0][0]) if family.samples else []
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        for labels, timing in family.samples:
            timing = cast("Timing", timing)
            histogram.add_metric(list(labels.values()), timing.cumulative(), timing.total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    plain = kind(family.name, family.help, labels=names)
    for labels, value in family.samples:
        plain.add_metric(list(labels.values()), cast("float", value))
    return plain
