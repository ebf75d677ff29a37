"""The console's link to a bundle: a run from a file in the very same screens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from headway.bundle import OfflineClient
from headway_tui.link import Link
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.bundle import Bundle
    from headway.client import Client
    from headway.config import Settings


class OfflineLink(Link):
    """Always connected, never live."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        super().__init__(settings)
        made = bundle.manifest
        self.as_of = made.exported_at
        self.offline = safe(
            f"offline bundle, exported {made.exported_at:%Y-%m-%d %H:%M} UTC by {made.by}"
            f" from {made.namespace} at {made.server}",
            300,
        )
        # As much of a client as the screens use.
        self.client = cast("Client", OfflineClient(bundle, settings))

    async def run(self) -> None:
        """Connected at once; ends by cancellation."""
        self.connected, self.lives = True, 1
        self.changed.set()
        await asyncio.Event().wait()

    def silent(self) -> float:
        """No beat is expected."""
        return 0.0

    async def hear(self, subject: str, on_message: Callable[[Any], None]) -> Any:
        """Nothing will come."""
        assert self.client is not None
        return await self.client.connection.subscribe(subject)
