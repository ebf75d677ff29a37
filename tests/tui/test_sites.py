"""A hub's console: whose each run is, which site is cut off, and what waits for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from headway.wire.sites import SiteRow, SitesPage
from headway_tui.model.sites import cut_off, sites_line
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, console, show
from support.goldens import SIZES, agreed
from support.screens import text_of
from support.site_facts import open_sites, sites


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_two_sites_of_which_one_is_cut_off_look_as_agreed(size: tuple[int, int]) -> None:
    async with console(size) as (app, pilot):
        await open_sites(app, pilot)
        agreed("sites", size, app)


async def test_the_line_comes_and_goes_with_the_sites() -> None:
    async with console() as (app, pilot):
        assert "SITE" not in text_of(app)
        screen = await open_sites(app, pilot)
        text = text_of(app)
        assert "◌ berlin cut off 4m" in text
        assert "2 commands wait, the oldest 3m" in text
        assert "● oslo live" in text
        (row,) = [line for line in text.splitlines() if "01JD9K4W2M8QZ5" in line and "◌" in line][
            :1
        ]
        assert "◌ berlin" in row
        screen.sites.take([SiteRow("berlin", linked=True), SiteRow("oslo", linked=True)])
        await show(app, pilot)
        assert "◌ berlin" not in text_of(app)
        screen.sites.take([])
        await show(app, pilot)
        assert "SITE" not in text_of(app)
        assert "sites " not in text_of(app)


async def test_ascii_means_ascii_with_sites_too() -> None:
    async with console(ascii_only=True) as (app, pilot):
        await open_sites(app, pilot)
        assert text_of(app).isascii()


async def test_the_line_is_asked_for_and_stays_while_nobody_answers() -> None:
    async with console() as (app, pilot):
        link: Any = app.link
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        page = SitesPage(sites(), NOW)
        link.answers["sites"] = {None: page}.get
        await screen.sites.look()
        await show(app, pilot)
        assert "◌ berlin cut off 4m" in text_of(app)
        del link.answers["sites"]
        await screen.sites.look()
        await show(app, pilot)
        assert "◌ berlin cut off 4m" in text_of(app)


def test_a_line_that_is_too_short_counts_the_rest() -> None:
    many = [SiteRow(f"site-{n}", linked=n != 7, contact_at=NOW, as_of=NOW) for n in range(12)]
    assert cut_off(many) == {"site-7"}
    words = "".join(text for text, _ in sites_line(many, NOW, 80))
    assert words.startswith(" sites  ◌ site-7 cut off 0s   ● site-0 live")
    assert words.endswith(" more")
    assert len(words) <= 80
    never = [SiteRow("berlin", waiting=1, waiting_since=NOW)]
    assert sites_line(never, NOW, 120)[1] == (
        "◌ berlin never heard of, 1 command waits, the oldest 0s   ",
        "warning",
    )
    short = [SiteRow("berlin", linked=True, skipped=9)]
    assert sites_line(short, NOW, 120)[1] == ("● berlin live, 9 messages skipped   ", "warning")
    halted = [SiteRow("berlin", linked=True, problem="its RUNS was made anew")]
    assert sites_line(halted, NOW, 120)[1][1] == "bad"
