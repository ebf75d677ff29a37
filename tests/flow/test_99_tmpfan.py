from __future__ import annotations
import time, pytest, asyncio
from support import body_tasks as t
from support.live import live
import headway
async def test_fan(nats, database):
    async with live(nats, database) as stack:
        for n in (1, 10, 300, 3000):
            b=time.perf_counter()
            r = await stack.result(t.b_fan, n, within=100)
            print("FAN", n, r, round(time.perf_counter()-b,3))
