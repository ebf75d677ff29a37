"""Queues, agents and metrics of the console on a real engine and a real agent."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.wire.fleet import AgentRow, QueueAsk, QueueRow
from headway_tui.app import HeadwayApp, Options
from headway_tui.screens.metrics import MetricsScreen
from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.runs import RunsScreen
from support import body_tasks
from support.engines import running_engine
from support.live import live
from support.place import guarded_place
from support.screens import text_of
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headway.config import Settings
    from headway_ops.local.nats import NatsServer


@asynccontextmanager
async def on(settings: Settings) -> AsyncGenerator[tuple[HeadwayApp, Any]]:
    """The app on its real link."""
    app = HeadwayApp(Options(settings))
    async with app.run_test(size=(120, 40)) as pilot:
        yield app, pilot


async def shows(app: HeadwayApp, what: Callable[[str], object], why: str) -> str:
    """Wait until the screen says so."""
    await until(lambda: what(text_of(app)), what=why, every=0.1)
    return text_of(app)


async def test_a_queue_is_paused_and_an_agent_drained_from_the_console(
    nats: str, database: str
) -> None:
    async with (
        live(nats, database, beat_every=0.3) as made,
        on(settings_for(nats)) as (app, pilot),
    ):
        await pilot.press("2")
        screen = app.screen
        assert isinstance(screen, QueuesScreen)
        await shows(app, lambda t: "default" in t and "a1" in t and "iB" in t, "queue and agent")
        (agent,) = screen.agent_lines
        assert agent.fresh is not None
        assert agent.fresh.memory_total > 0
        assert agent.version
        # Pause, with a reason; what is asked for waits then, and the console sees it by push.
        await pilot.press("s", *"bill", "enter")
        await shows(app, lambda t: "queue default is paused" in t, "the answer")
        (row,) = await made.client.api("queues", None, list[QueueRow])
        assert (row.paused, row.reason, row.paused_by[:5]) == (True, "bill", "user:")
        handle = await made.start(body_tasks.b_echo, 1)
        await until(lambda: screen.queue_lines[0].waiting == 1, what="the run waits")
        await shows(app, lambda t: "paused by" in t and '"bill"' in t, "who paused it and why")
        # Somebody else goes on with it: nobody asks for that, it is pushed.
        await made.client.api("queue-set", QueueAsk("default", paused=False), QueueRow)
        await shows(app, lambda t: '"bill"' not in t and "● ok" in t, "open again")
        assert await handle.result(20) == 1
        # Drain the agent, and take it back.
        await pilot.press("tab", "s", *"disk", "enter")
        await shows(app, lambda t: '"disk"' in t and "drained by" in t, "who drained it and why")
        await until(lambda: made.agent.draining == "drain", what="the agent heard of it")
        (agent_row,) = await made.client.api("agents", None, list[AgentRow])
        assert (agent_row.drain, agent_row.drain_reason) == ("drain", "disk")
        assert agent_row.cpu is None or 0 <= agent_row.cpu <= 1
        assert (agent_row.version, agent_row.memory > 0) == (agent.version, True)
        await pilot.press("s", "enter")
        await until(lambda: not made.agent.draining, what="the agent takes runs again")
        # Its runs: the list with a filter.
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.filter_text == "agent:a1"


async def test_curves_are_there_at_once_for_who_comes_late(nats: str, database: str) -> None:
    async with live(nats, database) as made:
        for i in range(4):
            assert await made.result(body_tasks.b_echo, i) == i
        async with on(settings_for(nats)) as (app, pilot):
            await pilot.press("5")
            screen = app.screen
            assert isinstance(screen, MetricsScreen)
            await until(lambda: screen.view.engines, what="samples of the engine")
            await shows(app, lambda t: made.engine.id[:20] in t, "the engine's name")

            def began() -> float:
                told = screen.view.engines.values()
                return sum(s.started for samples in told for s in samples.values())

            await until(began, what="the samples from before it came")
            (told,) = screen.view.engines.values()
            count = len(told)
            await until(lambda: len(told) > count + 1, what="what is heard goes on with them")
            assert "pg pool" in text_of(app)


async def test_a_viewer_sees_all_and_is_refused_kindly(database: str) -> None:
    async with (
        guarded_place() as place,
        running_engine(place.config(database)),
        place.caller("ann") as ann,
        place.agent("a1") as agent,
    ):
        await ann.deploy()
        await agent.start()
        async with on(place.server.settings("web")) as (app, pilot):
            await pilot.press("2")
            screen = app.screen
            assert isinstance(screen, QueuesScreen)
            await shows(app, lambda t: "default" in t and "a1" in t, "queue and agent")
            await pilot.press("s", "enter")
            text = await shows(app, lambda t: "not done" in t, "the refusal")
            assert "NATS does not let user web publish on hw.api.default.web.queue-set" in text
            # What an operator does is pushed to a viewer too, across accounts.
            await ann.api("queue-set", QueueAsk("default", paused=True, reason="bill"))
            await shows(app, lambda t: "paused by ann" in t and '"bill"' in t, "the pause")


async def test_a_link_that_was_lost_dims_the_rows_and_comes_back_with_the_truth(
    nats_server: NatsServer, database: str
) -> None:
    url = nats_server.url
    async with live(url, database) as made, on(settings_for(url)) as (app, pilot):
        await pilot.press("2")
        await shows(app, lambda t: "● ok" in t and "a1" in t, "queue and agent")
        nats_server.kill()
        await shows(app, lambda t: "NATS LINK LOST" in t and "as of" in t, "the band and the age")
        await pilot.press("s")
        await shows(app, lambda t: "there is no link to NATS" in t, "the refusal")
        await nats_server.start()
        await until(lambda: made.client.connection.is_connected, what="the client is back")

        async def paused() -> bool:
            with contextlib.suppress(HeadwayError):  # the engine may need a moment longer
                ask = QueueAsk("default", paused=True, reason="after")
                return (await made.client.api("queue-set", ask, QueueRow)).paused
            return False

        await until(paused, what="the queue is paused")
        await shows(app, lambda t: '"after"' in t and "LINK LOST" not in t, "what happened since")
