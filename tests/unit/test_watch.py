"""What an engine says of its servers while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.errors import NotReachable
from headway_engine.store import StoreFacts
from headway_engine.streams import PayloadTooSmall
from headway_engine.watch import Watch

if TYPE_CHECKING:
    import pytest


class Servers:
    """A store and a broker, as far as a watch asks them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.refusal: Exception | None = None
        self.asked: list[object] = []

    async def facts(self) -> StoreFacts:
        """What an operator should change."""
        return StoreFacts(problems=self.problems)

    async def repair(self, others: object) -> None:
        """All is as declared, or this NATS refuses."""
        self.asked.append(others)
        if self.refusal is not None:
            raise self.refusal


async def test_a_setting_that_breaks_a_promise_is_said_when_it_comes_and_when_it_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="headway")
    servers: Any = Servers()
    watch = Watch(servers, servers, lambda: [("default", "q")], 1.0, ["fsync is off"])
    servers.problems = ["fsync is off"]
    for _ in range(2):
        await watch.once()
    assert servers.asked == [[("default", "q")]] * 2
    assert caplog.messages == []  # said at the start
    servers.problems = []
    servers.refusal = PayloadTooSmall("max_payload is 10")
    for _ in range(2):
        await watch.once()
    assert caplog.messages == ["NATS: max_payload is 10", "no longer so: store: fsync is off"]
    servers.refusal = NotReachable("away")
    await watch.once()
    # An outage says nothing of the settings.
    assert caplog.messages[2:] == [
        "streams cannot be looked at: away",
        "no longer so: NATS: max_payload is 10",
    ]
