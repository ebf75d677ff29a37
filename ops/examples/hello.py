"""The task of the README: count the tides, survive a kill at any line."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from headway import Retry, checkpoint, once, resume, task, token


class Log(Struct):
    """What the task knows; a checkpoint saves it."""

    hour: int = 0
    heights: list[float] = []


def publish(heights: list[float]) -> str:
    """The side effect. The token is the same in every attempt: hand it to the other side."""
    print(f"publishing {len(heights)} heights under {token()}")
    return token()


@task(retry=Retry(max_attempts=5, min_delay="1s", max_delay="60s"), timeout="10m")
async def tides(hours: int, pace: float = 1.0) -> float:
    """Measure the water every hour; give the highest."""
    log = await resume(Log())  # the last checkpoint's state, or this one the first time
    while log.hour < hours:
        log.heights.append(round(2.5 + abs((log.hour % 12) - 6) / 3, 2))
        log.hour += 1
        await checkpoint(f"hour-{log.hour}", log)  # kill -9 from here: the next hour is next
        await asyncio.sleep(pace)
    await once("publish", publish, log.heights, on_ambiguous="rerun")
    return max(log.heights)
