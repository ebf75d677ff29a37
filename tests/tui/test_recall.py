"""The rows that were seen last: kept without secrets, painted at once, never believed."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from headway.config import Settings
from headway_tui import recall
from headway_tui.app import HeadwayApp, Options
from headway_tui.screens.runs import RunsScreen
from support.consoles import NOW, StillLink, rows, show
from support.screens import text_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows" / "x.json"


def test_what_is_kept_comes_back_without_what_is_the_users(file: Path) -> None:
    recall.keep(file, "", NOW, rows())
    found = recall.recalled(file, "")
    assert found is not None
    assert found.as_of == NOW
    assert [(r.run, r.status, r.task) for r in found.rows] == [
        (r.run, r.status, r.task) for r in rows()
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    body = file.read_bytes()
    assert b"RateLimitError" in body
    for word in (b"429", b"Traceback", b"customer=acme", b"approve"):
        assert word not in body


def test_of_a_long_list_as_much_is_kept_as_a_screen_shows(file: Path) -> None:
    recall.keep(file, "", NOW, rows() * 1000)
    assert file.stat().st_size <= recall.LIMIT
    found = recall.recalled(file, "")
    assert found is not None
    assert len(found.rows) == recall.ROWS


def test_another_list_is_not_taken_for_this_one(file: Path) -> None:
    recall.keep(file, "status:failed", NOW, rows())
    assert recall.recalled(file, "") is None
    assert recall.recalled(file, "status:failed") is not None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"query": ""}', b"x" * 100_000])
def test_a_damaged_file_is_ignored(file: Path, body: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(body)
    file.chmod(0o600)
    assert recall.recalled(file, "") is None


def test_a_file_that_others_may_read_or_a_link_is_ignored(file: Path) -> None:
    recall.keep(file, "", NOW, rows())
    file.chmod(0o644)
    assert recall.recalled(file, "") is None
    file.chmod(0o600)
    link = file.with_name("link")
    link.symlink_to(file)
    assert recall.recalled(link, "") is None
    assert recall.recalled(file.parent, "") is None


def test_each_connection_has_a_file_and_a_guarded_one_has_none() -> None:
    plain = Settings()
    other = Settings(namespace="lab")
    files = {recall.file_of(plain), recall.file_of(other), recall.file_of(Settings(user="ana"))}
    assert len(files) == 3
    assert recall.file_of(Settings(protect=True)) is None
    assert recall.file_of(Settings(readonly=True)) is None


async def test_the_console_begins_with_the_rows_of_before_and_ends_with_those_of_now(
    file: Path,
) -> None:
    recall.keep(file, "", NOW - timedelta(hours=2), rows()[:3])
    app = HeadwayApp(Options(Settings(), rows=file))
    app.link, app.paused = StillLink(app.settings), True
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        screen.now = lambda: NOW
        await show(app, pilot)
        text = text_of(app)
        assert "as of " in text
        assert rows()[0].run[:14] in text
        assert app.stale
        assert screen.feed is not None
        screen.view.asking()
        screen.view.snapshot(rows()[3:5])
        screen.feed.loading, screen.feed.answers = False, 1
        await show(app, pilot)
        text = text_of(app)
        assert "as of " not in text
        assert rows()[0].task in text
        assert screen.view.order == [r.run for r in rows()[3:5]]
        assert not app.stale
    found = recall.recalled(file, "")
    assert found is not None
    assert [r.run for r in found.rows] == [r.run for r in rows()[3:5]]


async def test_rows_of_before_are_not_kept_again_as_if_they_were_of_now(file: Path) -> None:
    then = NOW - timedelta(hours=2)
    recall.keep(file, "", then, rows()[:3])
    app = HeadwayApp(Options(Settings(), rows=file))
    app.link, app.paused = StillLink(app.settings), True
    async with app.run_test(size=(120, 40)) as pilot:
        await show(app, pilot)
    found = recall.recalled(file, "")
    assert found is not None
    assert found.as_of == then
