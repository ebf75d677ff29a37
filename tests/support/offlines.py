"""The console on a bundle: no server, all of its run read."""

from __future__ import annotations

import io
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from headway.bundle import Bundle
from headway.config import Settings
from headway_tui.app import HeadwayApp, Options
from headway_tui.screens.run import RunScreen
from support import bundled as b
from support.consoles import show
from support.screens import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def offline(
    data: bytes, size: tuple[int, int] = (120, 40)
) -> AsyncGenerator[tuple[HeadwayApp, Any, RunScreen]]:
    """The console on a bundle, all of its run read."""
    bundle = Bundle(io.BytesIO(data))
    app = HeadwayApp(Options(Settings(), readonly=True, run=b.RUN, bundle=bundle))
    app.paused = True
    async with app.run_test(size=size) as pilot:
        end = time.monotonic() + 20
        while True:
            screen = app.screen
            if isinstance(screen, RunScreen) and screen.detail and screen.number:
                store = screen.logs.store
                if screen.timeline.events and store.received and "new" in screen.state.bodies:
                    break
            assert time.monotonic() < end, text_of(app)
            await pilot.pause(0.02)
        await show(app, pilot)
        yield app, pilot, screen
