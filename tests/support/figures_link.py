"""The console's numbers about what comes over the link: events, and the link itself cut."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from headway import subjects
from headway.wire import decode
from headway.wire.events import RUN_EVENTS
from headway.wire.steering import CancelAsk
from support.figures import Figure, Place, console_on, matched, part, seen, since
from support.figures_run import LINE, Flood, counted
from support.proxy import Proxy

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from support.pty_console import Terminal

MISSED = 5_000
"""Lines that come while the link is cut."""


async def events(place: Place) -> list[Figure]:
    """From an event on the broker to its row."""
    runs = [
        (await place.caller.enqueue("noop")).run for _ in range(max(2, place.amount.rounds * 5))
    ]
    heard: dict[str, float] = {}

    async def hear(msg: Msg) -> None:
        told = decode(RUN_EVENTS, msg.data)
        if any(event.kind.startswith("cancel") for event in told.events):
            heard.setdefault(told.run, time.perf_counter())

    took: list[float] = []
    sub = await place.caller.nc.subscribe(subjects.live_event("default"), cb=hear)
    async with console_on(place.url) as opened:
        await seen(opened, runs[-1][:14])
        await asyncio.sleep(1)
        for run in runs:
            at = len(opened.output)
            await place.caller.api("cancel", CancelAsk(run))
            await matched(opened, rf"CANC +{run[:14]}", since=at)
            took.append(time.perf_counter() - heard[run])
            await asyncio.sleep(0.2)
    await sub.unsubscribe()
    return [Figure("event on the broker to its row, p95", part(took, 95), 150, "ms")]


async def cut(place: Place) -> list[Figure]:
    """Reset and dead silence: the band, and what was missed when the link is there again."""
    found: list[Figure] = []
    port = int(place.url.rpartition(":")[2])
    async with Proxy(port) as proxy, Flood(place) as flood:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with console_on(url, place.run) as opened:
            await seen(opened, "timeline")
            await flood.send([LINE.format(n) for n in range(1000)])
            await matched(opened, counted(1000))
            for name, goal in (("reset", 1000), ("silent", 4000)):
                away, back, whole = await _one_cut(proxy, flood, opened, name)
                found += [
                    Figure(f"link {name}: to its band", away * 1000, goal, "ms"),
                    Figure(f"link {name}: there again to caught up", back * 1000, 2000, "ms"),
                    Figure(f"link {name}: lines lost or doubled", not whole, 0, ""),
                ]
    return found


async def _one_cut(
    proxy: Proxy, flood: Flood, opened: Terminal, how: str
) -> tuple[float, float, bool]:
    at, begun = len(opened.output), time.perf_counter()
    if how == "reset":
        proxy.refusing = True
        proxy.reset()
    else:
        proxy.blackhole()
    await matched(opened, "NATS LINK LOST|NATS SILENT|ENGINE SILENT|STALE", since=at)
    away = since(begun)
    await matched(opened, "NATS LINK LOST", since=at)
    await flood.send([LINE.format(n) for n in range(flood.sent, flood.sent + MISSED)])
    await flood.send([word := f"after the {how} link"])
    at, begun = len(opened.output), time.perf_counter()
    proxy.heal()
    await seen(opened, word, since=at)
    back = since(begun)
    await matched(opened, counted(flood.sent), since=at)
    return away, back, b"missing" not in bytes(opened.output[at:])
