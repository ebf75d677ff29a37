"""A user who may only look: what he may not do is said in plain words, at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headway.errors import NotAllowed
from headway.wire.api import Done
from headway.wire.steering import CancelAsk
from headway_tui.link import Link
from headway_tui.model.bands import band_of
from headway_tui.sending import kindly
from support.guarded import guarded
from support.servers import open_folder
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg


def _nothing(msg: Msg) -> None:
    """Nobody speaks there."""


async def test_what_the_user_may_not_do_or_hear_is_said() -> None:
    with open_folder("viewer") as folder:
        async with guarded(folder) as made:
            link = Link(made.settings("web"))
            task = asyncio.create_task(link.run())
            try:
                await until(lambda: link.connected, what="linked")
                with pytest.raises(NotAllowed) as caught:
                    await link.ask("cancel", CancelAsk("01JD9K4W2M8QZ5V7N3XBTRFHCA"), Done)
                assert kindly(caught.value).startswith("your NATS user may not cancel: ")
                await link.hear("hw.live.run.other.>", _nothing)
                await until(lambda: bool(link.trouble), what="said")
                link.engines.clear()
                words = band_of(link.facts()._replace(silent=0.0)).words
                assert "may not read hw.live.run.other.>" in words
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
