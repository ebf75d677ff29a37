"""Another connection in the same console, and what a protected one asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headway import contexts
from headway.config import Settings
from headway_tui.app import HeadwayApp, Options
from headway_tui.model.sheets import Field, Sheet, guarded
from support.consoles import StillLink, console, rows, show
from support.screens import text_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HEADWAY_CONTEXT", "HEADWAY_NATS_URL", "HEADWAY_NAMESPACE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    place = tmp_path / "headway" / "contexts"
    place.mkdir(parents=True)
    (place / "prod.toml").write_text('nats_url = "nats://far:4222"\nprotect = true\n')
    (place / "lab.toml").write_text('nats_url = "nats://x:1"\nnamespace="l"\nreadonly = true\n')
    (place / "bad.toml").write_text("nats_url = 1\n")


async def commanded(pilot: Any, app: HeadwayApp, line: str) -> str:
    await pilot.press("colon", *line.replace(" ", "\0").split("\0")[0])
    if " " in line:
        await pilot.press("space", *line.partition(" ")[2])
    await pilot.press("enter")
    await show(app, pilot)
    return text_of(app)


async def test_the_console_goes_to_another_connection_and_forgets_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headway_tui.app.Link", StillLink)
    async with console() as (app, pilot):
        before = app.link
        assert "contexts: bad, lab, prod" in await commanded(pilot, app, "ctx")
        await pilot.press("4")
        text = await commanded(pilot, app, "ctx lab")
        assert app.link is not before
        assert "lab/l" in text
        assert "now at lab/l, nats://x:1" in text
        assert rows()[0].task not in text
        assert app.readonly
        assert len(app.screen_stack) == 1
        assert app.jumps.step(-1) is None
        text = await commanded(pilot, app, "ctx prod")
        assert not app.readonly
        assert app.settings.protect
        assert "this is prod" in await commanded(pilot, app, "ctx")


@pytest.mark.parametrize(("name", "why"), [("bad", "Expected `str`"), ("nope", "no context")])
async def test_a_context_that_cannot_be_used_leaves_this_connection(name: str, why: str) -> None:
    async with console() as (app, pilot):
        before = app.link
        text = await commanded(pilot, app, f"ctx {name}")
        assert app.link is before
        assert "not done" in text
        assert why in text
        assert not contexts.os.environ["HEADWAY_CONTEXT"]


async def test_a_protected_connection_has_the_count_typed_for_one_run_too() -> None:
    app = HeadwayApp(Options(Settings(context="prod", protect=True)))
    app.link, app.paused = StillLink(app.settings), True
    async with app.run_test(size=(120, 40)) as pilot:
        screen: Any = app.screen
        screen.view.snapshot(rows())
        screen.feed.loading = False
        await show(app, pilot)
        await pilot.press("c")
        await pilot.pause()
        text = text_of(app)
        assert "type 1 to do it" in text
        assert "$ headway --context prod cancel" in text
        await pilot.press("enter")
        await pilot.pause()
        assert "type 1, or esc" in text_of(app)


def test_where_no_count_is_asked_for_the_context_is() -> None:
    plain = Sheet("pause", [("pause", "text")], [Field("", "reason")])
    asked = guarded(plain, "prod").fields
    assert [f.label for f in asked] == ["", "type prod to do it"]
    assert (asked[1].flaw(" prod "), asked[1].flaw("lab")) == ("", "type prod, or esc")
    counted = plain._replace(fields=[Field("type 12 to do it")])
    assert guarded(counted, "prod") == counted
