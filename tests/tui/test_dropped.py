"""Output that agents have dropped is said in the header of every screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from headway.config import Settings
from headway.wire import encode
from headway.wire.events import AgentBeat
from headway_tui.link import Link
from support.consoles import console, show
from support.screens import text_of

if TYPE_CHECKING:
    from nats.aio.msg import Msg


class Heard:
    """A message as far as the link looks at it."""

    def __init__(self, agent: str, **counters: float) -> None:
        beat = AgentBeat(agent, "default", "h", "docker", (), 1, 0, 0, counters=counters)
        self.data = encode(beat)


async def hears(link: Link, agent: str, **counters: float) -> None:
    heard: Any = Heard(agent, **counters)
    await link._on_agent(cast("Msg", heard))  # pyright: ignore[reportPrivateUsage]


async def test_drops_count_from_when_an_agent_was_heard_first() -> None:
    link = Link(Settings())
    await hears(link, "a", log_lines_dropped=500, spans_dropped=7)
    await hears(link, "b")
    assert link.dropped() == 0
    await hears(link, "a", log_lines_dropped=512, spans_dropped=8)
    await hears(link, "b", spans_dropped=1)
    assert link.dropped() == 12 + 1 + 1
    await hears(link, "a", log_lines_dropped=3)  # started anew
    assert link.dropped() == 13 + 3 + 1


async def test_runs_that_a_site_removed_before_its_hub_had_them_are_told_of() -> None:
    async with console() as (app, pilot):
        assert "lost to the hub" not in text_of(app)
        beat, at = next(iter(app.link.engines.values()))
        beat = replace(beat, counters={"unshipped": 12.0})
        app.link.engines[beat.engine] = beat, at
        await show(app, pilot)
        assert "12 runs lost to the hub" in text_of(app).splitlines()[0]
        await pilot.press("5")
        await show(app, pilot)
        assert "12 runs were removed before the hub had confirmed it all" in text_of(app)
        assert "Raise edge.runs_bytes" in text_of(app)


async def test_the_header_says_it() -> None:
    async with console() as (app, pilot):
        assert "dropped" not in text_of(app)
        await hears(app.link, "edge-1")
        await hears(app.link, "edge-1", log_lines_dropped=1200)
        await show(app, pilot)
        assert "dropped 1,200" in text_of(app).splitlines()[0]
