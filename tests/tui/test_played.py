"""A dump of events in the same screens, and a recording of the terminal."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headway.config import Settings
from headway.errors import Refused
from headway.wire.runs import RunsQuery, StateAnswer, StateAsk
from headway_tui.app import HeadwayApp, NoRecording, Options, run
from headway_tui.dumps import BadDump, read
from headway_tui.played import LONGEST, PlayedLink
from headway_tui.recording import Cast, recorded
from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.run import RunScreen
from support.consoles import RUN, T0, console, events
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "01JD9K4W2M8QZ5V7N3XBTRFHCB"


def dump(path: Path) -> Path:
    """What `headway watch --dump` writes of a run, and of another one."""
    lines: list[dict[str, Any]] = []
    for e in events():
        event = {"n": e.n, "at": e.at.isoformat(), "kind": e.kind, "epoch": e.epoch, "data": e.data}
        target = {"queued": "QUEUED", "starting": "STARTING", "started": "RUNNING",
                  "failed": "FAILED", "retrying": "RETRYING", "lost": "QUEUED"}  # fmt: skip
        lines.append({"run": RUN, "task": "agent", "event": event | {
            "target": target.get(e.kind, "")}})  # fmt: skip
    at = (T0 + timedelta(seconds=10)).isoformat()
    lines.append({"run": RUN, "attempt": 1, "missing": 0,
                  "chunk": {"first": 1, "lines": ["INFO said"], "at": at}})  # fmt: skip
    lines.append({"run": RUN, "checkpoint": {
        "number": 1, "name": "start", "size": 14, "at": T0.isoformat(), "epoch": 1,
    }, "state": {"played": True}})  # fmt: skip
    span = {"trace": "ab" * 16, "span": "cd" * 8, "name": "GET /played", "start": 0, "end": 1}
    lines.append({"run": RUN, "attempt": 1, "spans": {"first": 1, "spans": [span], "at": at}})
    lines.append({"run": OTHER, "task": "web", "event": {
        "n": 1, "at": at, "kind": "queued", "target": "QUEUED"}})  # fmt: skip
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


async def test_a_dump_is_played_through_the_same_screens(tmp_path: Path) -> None:
    file = dump(tmp_path / "dump.jsonl")
    app = HeadwayApp(Options(Settings(), dump=file, speed=10_000, readonly=True))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: "its end" in app.link.offline, 20)
        await until(lambda: "FAIL" in text_of(app) and "1 new" in text_of(app), 20)
        await pilot.press("g", "g")
        await until(lambda: "web" in text_of(app), 20)
        told = "dump dump.jsonl at x10000, 2026-01-02 03:08:17 UTC, its end"
        await until(lambda: told in text_of(app), 20)
        await pilot.press("colon", *f"run {RUN}", "enter")
        await until(lambda: isinstance(app.screen, RunScreen), 20)
        await until(lambda: "attempt 2 (3)" in text_of(app) and "INFO said" in text_of(app), 20)
        head = text_of(app).splitlines()[1]
        assert "try 2  " in head, "a dump does not say how many it may have"
        assert "queue" not in head
        assert "GET /played" in text_of(app)
        await pilot.press("c")
        await pilot.pause()
        assert "not done" in text_of(app)
        answer = await app.link.ask("state", StateAsk(RUN, 1), StateAnswer)
        assert (answer.row.name, bytes(answer.state)) == ("start", b'{"played": true}')
        with pytest.raises(Refused, match="headway watch --dump"):
            await app.link.ask("state", StateAsk(RUN, 2), StateAnswer)


async def test_a_play_waits_as_it_was_and_never_long(tmp_path: Path) -> None:
    moments = read(dump(tmp_path / "dump.jsonl"))
    waited: list[float] = []
    go = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await go.acquire()

    link = PlayedLink(Settings(), moments, "d", 10.0, sleep)
    task = asyncio.ensure_future(link.run())
    await until(lambda: len(waited) == 1, 10)
    first = await link.ask("runs", RunsQuery(), object)  # pyright: ignore[reportAssignmentType]
    assert [row.status for row in first.runs] == ["queued"], "only what was played is known"  # pyright: ignore
    for _ in range(len(moments)):
        go.release()
    await until(lambda: link.offline.endswith("its end"), 10)
    assert max(waited) == LONGEST
    assert waited[0] == pytest.approx(0.01)
    with pytest.raises(Refused):
        await link.ask("cancel", None, object)
    task.cancel()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no event: `headway watch --dump"),
        ('{"run": "x"}\n', ":1: a run's id and an"),
        ("{}\nno json", ":1: .*lines are as `headway watch --dump`"),
        ("\x00\x01", ":1: "),
    ],
)
def test_a_dump_that_cannot_be_played_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    with pytest.raises(BadDump, match=why):
        read(file)
    with pytest.raises(BadDump, match="cannot be read"):
        read(tmp_path / "none")


# --- recording


def test_a_recording_is_an_asciicast_that_nobody_else_reads(tmp_path: Path) -> None:
    now = [5.0]
    cast = Cast(tmp_path / "f.cast", (80, 24), lambda: now[0])

    class Silent:
        def write(self, data: str) -> None:
            """Nowhere."""

    driver: Any = recorded(Silent, cast)  # pyright: ignore[reportArgumentType]
    now[0] = 5.5
    driver().write("\x1b[2Jfirst")
    cast.resized((80, 24))
    cast.resized((100, 30))
    driver().write("\ud800")
    cast.close()
    driver().write("after its end")
    lines = [json.loads(line) for line in (tmp_path / "f.cast").read_text().splitlines()]
    assert (lines[0]["version"], lines[0]["width"], lines[0]["height"]) == (2, 80, 24)
    assert lines[1:] == [[0.5, "o", "\x1b[2Jfirst"], [0.5, "r", "100x30"], [0.5, "o", "\ud800"]]
    assert (tmp_path / "f.cast").stat().st_mode & 0o077 == 0


def test_nothing_is_recorded_over(tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("x")
    with pytest.raises(NoRecording, match="there cannot be written: File exists"):
        run(Options(Settings(), record=file))
    assert file.read_text() == "x"


async def test_review_goes_to_what_waits_for_a_person() -> None:
    async with console() as (app, pilot):
        await pilot.press("colon", *"review", "enter")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, DeadScreen)
        assert screen.focused is screen.reviews
