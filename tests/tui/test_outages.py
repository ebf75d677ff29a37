"""Engine, Postgres and NATS die under an open console: it says so, and then knows everything."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from headway.wire.fleet import TaskSpec
from headway_tui.app import HeadwayApp, Options
from headway_tui.screens.run import RunScreen
from support.screens import text_of
from support.servers import settings_for
from support.site import TASKS, running_site
from support.wait import until

if TYPE_CHECKING:
    from headway_tui.model.logs import LogStore

pytestmark = pytest.mark.timeout(240)

TALK = """
@task
async def talk(ledger: str, key: str, gate: str) -> int:
    n = await resume(0, type=int)
    while not os.path.exists(gate):
        n += 1
        print("line", n, flush=True)
        if n % 20 == 0:
            await checkpoint(f"n-{n}", n)
        await asyncio.sleep(0.02)
    await checkpoint(f"n-{n}", n)
    await once("effect", write, ledger, key)
    return n
"""


def numbers(store: LogStore) -> list[int]:
    """The numbers of the lines that are shown, in the order in which they stand there."""
    return [int(line.text.split()[1]) for line in store.lines if line.text.startswith("line ")]


async def test_the_console_says_what_is_down_and_afterwards_lacks_and_doubles_nothing() -> None:
    async with running_site(tasks=TASKS + TALK, specs=[TaskSpec("talk")]) as site:
        gate = site.folder / "gate"
        run = await site.enqueue("talk", gate=str(gate))
        assert run
        app = HeadwayApp(Options(settings_for(site.nats.url), run=run))
        async with app.run_test(size=(120, 40)):
            await until(lambda: isinstance(app.screen, RunScreen), what="the run's screen")
            screen = app.screen
            assert isinstance(screen, RunScreen)
            store = screen.logs.store

            async def says(words: str) -> None:
                await until(lambda: words in text_of(app), 30, what=words, every=0.1)

            async def goes_on() -> None:
                """The link is live, the store is well, and new lines come."""
                have = store.received
                await until(
                    lambda: "● live" in text_of(app) and "PG ● ok" in text_of(app)
                    and store.received > have + 20,
                    30, what="live again, with new lines", every=0.1,
                )  # fmt: skip

            await goes_on()
            site.roles[0].kill()
            await says("ENGINE SILENT")
            site.roles[0].start()
            await site.ready()
            await goes_on()

            await site.stop_postgres(signal.SIGQUIT)
            await says("POSTGRES DOWN")
            await site.postgres.start()
            await goes_on()

            site.nats.kill()
            await says("NATS LINK LOST")
            await site.nats.start()
            await goes_on()

            await asyncio.to_thread(gate.touch)
            await says("✓ DONE")
            (row,) = await site.rows("SELECT body FROM results WHERE run = $1", run)
            last = int(row["body"])
            await until(lambda: numbers(store)[-1:] == [last], what="the last line")
            shown = numbers(store)
            assert shown == list(range(1, last + 1))
            assert store.missing == 0
            # The timeline has each event once, as the store has them.
            (row,) = await site.rows("SELECT n FROM runs WHERE id = $1", run)
            events = screen.timeline.events
            await until(lambda: sorted(events) == list(range(1, row["n"] + 1)), what="all events")
        await site.verify()
