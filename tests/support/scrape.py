"""Metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway_engine.metrics.endpoint import Endpoint

Scraped = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Name of the series to its values by labels."""


async def scrape(address: tuple[str, int] | None) -> Scraped:
    """One scrape, parsed; raises HTTPError (an OSError) as Prometheus would see it."""
    assert address is not None

    def get() -> str:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=10) as r:
            return r.read().decode()

    found: Scraped = {}
    for family in text_string_to_metric_families(await asyncio.to_thread(get)):
        found.setdefault(family.name, {})
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncGenerator[Endpoint]:
    """The endpoint while it listens."""
    async with asyncio.TaskGroup() as group:
        endpoint.start(group)
        await endpoint.passed.after(0)
        try:
            yield endpoint
        finally:
            await endpoint.stop()
