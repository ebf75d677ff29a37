"""The replay console on real servers: draft, plan, canary, approval, comparison, script."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from textual.widgets import Input

from headway.replays import Loaded, load, make_plan
from headway.wire.replays import JobAsk
from headway_tui.app import HeadwayApp, Options
from headway_tui.model.drafts import new_draft
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.runs import RunsScreen
from support.jobs import failed_run
from support.live import headway
from support.screens import text_of
from support.scripted_agent import finish
from support.servers import settings_for
from support.stacks import stack
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import pytest

    from headway_ops.local.nats import NatsServer


@asynccontextmanager
async def console(nats: str) -> AsyncGenerator[tuple[HeadwayApp, Any]]:
    app = HeadwayApp(Options(settings_for(nats)))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: app.link.connected, what="linked")
        yield app, pilot


def console_of(app: HeadwayApp) -> ReplayScreen:
    screen = app.pane_screen
    assert isinstance(screen, ReplayScreen)
    return screen


async def typed(pilot: Any, field: int, text: str) -> None:
    """Another value for the field at this place of the form."""
    await pilot.press("1", "g", "g", *["j"] * field, "enter", *["backspace"] * 12, *text, "enter")


async def test_a_storm_is_mended_from_the_screen_and_the_recording_does_the_same_again(
    nats: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    # Nobody beats for the agent while the screen is driven.
    async with stack(nats, database, lease=300.0) as (_, caller, agent):
        await agent.start()
        runs = sorted([await failed_run(caller, agent) for _ in range(3)])
        agent.script = finish(b'{"model":"haiku"}')
        async with console(nats) as (app, pilot):
            listed = app.screen
            assert isinstance(listed, RunsScreen)
            await until(lambda: len(listed.view.order) == 3, what="the list")
            await pilot.press("asterisk", "r")
            screen = console_of(app)
            assert sorted(screen.draft.script.select.ids) == runs
            await pilot.press("at")
            await typed(pilot, 4, 'model = "haiku"; api_key = "sk-12"')
            await typed(pilot, 8, "1")
            assert screen.draft.script.pace.canary == 1
            await pilot.press("D")
            await until(lambda: screen.planned is not None, what="planned")
            assert screen.planned is not None
            name = screen.planned.name
            assert (screen.planned.starts, screen.planned.kept) == ({"#1": 3}, {"mail": 3})
            await pilot.press("colon", *"rec save", "enter")
            file = tmp_path / "draft.replay.toml"
            text = file.read_text()
            assert "sk-12" not in text
            assert 'model = "haiku"' in text
            monkeypatch.setenv("STATE_API_KEY", "sk-12")
            assert app.link.client is not None
            again = await make_plan(app.link.client, Loaded(load(str(file)).script))
            assert again.name == name

            # A wrong number starts nothing, the right one the canary.
            await pilot.press("S")
            await until(lambda: isinstance(app.focused, Input), what="the sheet")
            await pilot.press("2", "enter")
            await until(lambda: "type 3, or esc" in text_of(app), what="what is wrong")
            await pilot.press("escape")
            await until(lambda: app.screen is screen, what="no sheet")
            assert (await caller.api("jobs"))["jobs"] == []
            await pilot.press("S")
            await until(lambda: isinstance(app.focused, Input), what="the sheet")
            await pilot.press("3", "enter")
            feed = screen.feed
            assert feed is not None
            await until(lambda: feed.row is not None and feed.row.state == "canary", 20,
                        what="the canary")  # fmt: skip
            await pilot.press("a")
            await until(lambda: app.screen is not screen, what="the sheet")
            await pilot.press("enter")
            await until(lambda: feed.row is not None and feed.row.state == "done", 20, what="done")
            assert feed.row is not None
            assert feed.row.succeeded == 3

            # Beside each other: the shared checkpoint with its edit, and the output.
            await until(lambda: feed.items[0].fork in feed.rows, what="the forks' rows")
            await pilot.press("d")
            await until(lambda: any(r.mark == "~" for r in screen.sides.rows), what="compared")
            shared = next(r for r in screen.sides.rows if "shared" in r.left)
            assert (shared.mark, "shared + edit" in shared.right) == ("~", True)
            await pilot.press("v")
            await until(lambda: screen.sides.rows[1].left.startswith("◆1 one"), what="states")
            told = [(r.mark, r.left, r.right) for r in screen.sides.rows[2:]]
            assert ("~", 'model: "sonnet"', 'model: "haiku"') in told
            await pilot.press("n")
            assert screen.sides.rows[screen.sides.cursor].mark != " "
            await pilot.press("v")
            await until(lambda: "output" in screen.sides.rows[1].left, what="outputs")
            await pilot.press("v", "v")
            await until(lambda: len(screen.sides.rows) == 5, what="the matrix")
            assert screen.sides.rows[-1].role == "good"

            # Left and opened again, it is as it was.
            await pilot.press("escape", "6")
            assert console_of(app) is not screen
            assert console_of(app).draft == screen.draft
            job = feed.row.job
        # After a crash too; and the file does the same from a shell.
        async with console(nats) as (app, pilot):
            await pilot.press("6")
            after = console_of(app)
            assert (after.draft.job, [d.what for d in after.draft.decisions]) == (
                job, ["select", "edit", "edit", "plan", "start", "approve"],
            )  # fmt: skip
            await until(lambda: after.feed is not None and len(after.feed.items) == 3, what="job")
        done = await headway(nats, "replay", "plan", str(file), "--json")
        assert json.loads(done.stdout)["plan"] == name, done.stderr


async def test_a_job_is_followed_on_after_the_link_was_cut(
    nats_server: NatsServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    nats = nats_server.url
    async with stack(nats, database, lease=300.0) as (_, caller, agent):
        await agent.start()
        runs = [await failed_run(caller, agent) for _ in range(2)]
        async with console(nats) as (app, pilot):
            app.pane_screen.open_replay(new_draft(ids=runs))
            await pilot.pause()
            screen = console_of(app)
            await pilot.press("S")
            await until(lambda: isinstance(app.focused, Input), what="the sheet")
            await pilot.press("2", "enter")
            feed = screen.feed
            assert feed is not None
            await until(lambda: feed.row is not None and feed.row.running == 2, 20, what="running")
            nats_server.kill()
            await until(lambda: not app.link.connected, 20, what="cut")
            await pilot.press("D")
            await until(lambda: "no link" in screen.plan.words[0].text, 20, what="said")
            await nats_server.start()
            await until(lambda: app.link.connected, 30, what="back")

            # Somebody else ends the job meanwhile, at another terminal.
            await caller.api("job-stop", JobAsk(screen.draft.job))
            await until(lambda: feed.row is not None and feed.row.state == "stopped", 30,
                        what="seen again")  # fmt: skip
