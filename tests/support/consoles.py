"""The console on recorded facts: no server, a fixed clock, every screen reachable."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from msgspec import Raw
from textual.events import Key
from textual.keys import _character_to_key as key_of  # pyright: ignore[reportPrivateUsage]
from textual.pilot import Pilot

from headway.config import Settings
from headway.errors import Refused
from headway.retry import RetryPolicy
from headway.wire import ErrorInfo
from headway.wire.events import AgentBeat, EngineBeat, Event, LogChunk
from headway.wire.runs import CheckpointRow, FacetsAsk, Kin, RunDetail, RunRow, StateAnswer
from headway_engine.store.listing import facets_of
from headway_tui.app import HeadwayApp, Options
from headway_tui.link import Link
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = T0 + timedelta(minutes=5)
RUN = "01JD9K4W2M8QZ5V7N3XBTRFHCA"
TEXT = 3
"""More characters than this in a row are text that is typed."""


class StillLink(Link):
    """Connected, with beats; behind it are the answers that a test gives, or nobody."""

    answers: dict[str, Callable[[Any], Any]]
    asked: list[tuple[str, Any]]

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.answers, self.asked = {}, []

    async def ask(self, verb: str, body: Any, kind: Any) -> Any:
        """What was given for this verb."""
        self.asked.append((verb, copy(body)))
        if verb not in self.answers:
            raise Refused(f"nobody answers {verb}", "not_served")
        return self.answers[verb](body)

    async def run(self) -> None:
        """Beats once; nothing is asked."""
        self.connected, self.lives, self.rtt = True, 1, 0.0012
        self.beat()

    def beat(self) -> None:
        """An engine and two agents were heard just now."""
        now = time.monotonic() + 3600
        engine = EngineBeat("e1", "0.1.0", "postgres", store_ok=True, durability="fsynced", at=NOW)
        self.engines["e1"] = (engine, now)
        for name in ("edge-1", "edge-2"):
            beat = AgentBeat(name, "default", name, "docker", ("default",), 8, 3, 2)
            self.agents[name] = (beat, now)


def rows() -> list[RunRow]:
    """Runs in every state."""
    llm = ErrorInfo("RateLimitError", "429 from llm: wait a while", "Traceback\n  line 1\n  line 2")
    states: list[tuple[str, dict[str, Any]]] = [
        ("running", {"attempt": 1, "agent": "edge-1", "checkpoint": 3,
                     "checkpoint_name": "turn-2"}),
        ("failed", {"attempt": 5, "max_attempts": 5, "error": llm, "checkpoint": 7,
                    "checkpoint_name": "iteration-6", "ended_at": NOW - timedelta(seconds=12)}),
        ("retrying", {"attempt": 2, "error": ErrorInfo("ReadTimeout", "30 s"),
                      "due_at": NOW + timedelta(seconds=7.4)}),
        ("review", {"attempt": 1, "reason": "once", "checkpoint": 1, "checkpoint_name": "sent"}),
        ("queued", {}), ("delayed", {"due_at": NOW + timedelta(hours=1)}), ("starting", {}),
        ("waiting", {"attempt": 1, "reason": "approve"}), ("cancelling", {"attempt": 1}),
        ("succeeded", {"attempt": 1, "ended_at": NOW, "tags": ("demo", "customer=acme")}),
        ("timed_out", {"attempt": 3, "ended_at": NOW, "error": ErrorInfo("TimedOut", "30m")}),
        ("cancelled", {"ended_at": NOW}), ("expired", {"ended_at": NOW}),
    ]  # fmt: skip
    found: list[RunRow] = []
    for i, (status, more) in enumerate(states):
        fields: dict[str, Any] = {"max_attempts": 3, "n": 5} | more
        if fields.get("attempt"):
            fields["started_at"] = T0 + timedelta(seconds=i * 20)
        run = RUN if status == "failed" else f"01JD9K4W2M8QZ5V7N3XBTRFH{i:02d}"
        task = "研究-agent" if i == 9 else "research-agent"
        found.append(RunRow(run, task, status, "agents", T0 + timedelta(seconds=i * 15), **fields))
    return found


def events() -> list[Event]:
    """A run that failed, waited long, was resumed and failed for good."""
    told: list[tuple[float, int, str, dict[str, Any]]] = [
        (0, 0, "queued", {}),
        (0.1, 1, "starting", {"attempt": 1, "agent": "edge-1"}),
        (0.2, 1, "started", {}),
        (8, 1, "step", {"key": "generate-text", "seconds": 7.5, "status": "done"}),
        (9, 1, "checkpoint", {"number": 1, "name": "iteration-1", "size": 18_637}),
        (16, 1, "lost", {"why": "agent lost"}),
        (18, 2, "starting", {"attempt": 1, "agent": "edge-2"}),
        (18.2, 2, "started", {"resumed_from": 1}),
        (19, 2, "once", {"key": "send-email", "status": "started"}),
        (19.5, 2, "once", {"key": "send-email", "status": "done"}),
        (25, 2, "retrying", {"error": {"type": "RateLimitError", "message": "429"}}),
        (240, 2, "queued", {}),
        (240.1, 3, "starting", {"attempt": 2, "agent": "edge-2"}),
        (240.3, 3, "started", {"resumed_from": 1}),
        (246, 3, "checkpoint", {"number": 2, "name": "iteration-2", "size": 19_000}),
        (252, 3, "failed", {"error": {"type": "RateLimitError", "message": "429"}}),
    ]  # fmt: skip
    return [
        Event(n, T0 + timedelta(seconds=at), kind, epoch, data=data)
        for n, (at, epoch, kind, data) in enumerate(told, 1)
    ]


class Typist(Pilot[Any]):
    """Types text as fast as it is taken; single keys are Textual's own business, 45 ms each."""

    async def press(self, *keys: str) -> None:
        """Press these keys, one after the other."""
        for is_text, group in groupby(keys, lambda key: len(key) == 1):
            some = list(group)
            if is_text and len(some) > TEXT:
                for key in some[:-1]:
                    await self._typed(key)
                some = some[-1:]
            await super().press(*some)

    async def _typed(self, character: str) -> None:
        event = Key(key_of(character), character)
        event.set_sender(self.app)
        self.app.post_message(event)
        for _ in range(2):  # to the app, and from there to what has the focus
            await self._wait_for_screen()


@asynccontextmanager
async def console(
    size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncGenerator[tuple[HeadwayApp, Any]]:
    """The app and its pilot, the list filled; nothing moves but by `show`."""
    app = HeadwayApp(Options(Settings(), **options))
    app.link = StillLink(app.settings)
    app.paused = True
    async with app.run_test(size=size):
        pilot = Typist(app)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        screen.now = lambda: NOW
        assert screen.feed is not None
        screen.view.asking()
        screen.view.snapshot(rows())
        screen.feed.loading = False
        screen.feed.counts = {"running": 1, "queued": 1, "retrying": 1, "review": 1}
        screen.feed.total = len(rows())
        assert screen.counting is not None
        screen.counting.known["", ("status", "error")] = facets_of(rows(), FacetsAsk(), NOW)
        await show(app, pilot)
        yield app, pilot


async def show(app: HeadwayApp, pilot: Any) -> None:
    """Paint all that is dirty, now."""
    for _ in range(2):
        app.paint()
        for widget in app.screen.query("*"):
            widget.refresh()
        await pilot.pause()


async def open_run(app: HeadwayApp, pilot: Any) -> RunScreen:
    """The run screen with its facts."""
    await pilot.press("j", "enter")
    screen = app.screen
    assert isinstance(screen, RunScreen)
    screen.now = lambda: NOW
    for event in events():
        screen._on_event(event)  # pyright: ignore[reportPrivateUsage]
    for number, state in ((1, b'{"topic": "limits", "i": 1, "messages": ["a"]}'),
                          (2, b'{"topic": "limits", "i": 2, "messages": ["a", "b"]}')):  # fmt: skip
        row = CheckpointRow(number, f"iteration-{number}", len(state), T0, 1)
        answer = StateAnswer(row, Raw(state))
        screen._states[number] = answer  # pyright: ignore[reportPrivateUsage]
    at = T0 + timedelta(seconds=1)
    chunks = [
        (1, LogChunk(1, ["INFO tool search q='limits'", "DEBUG cache miss"], at)),
        (2, LogChunk(1, ["INFO resumed"], at)),
        (2, LogChunk(4, ["Traceback (most recent call last):"], at, stream="err", dropped=2)),
        (3, LogChunk(1, ["ERROR llm 429 retry-after=20"], at)),
    ]
    for epoch, chunk in chunks:
        screen.logs.store.add(epoch, chunk)
        screen.logs.touch()
    row = next(r for r in rows() if r.run == RUN)
    detail = RunDetail(
        row, payload=Raw(b'{"topic": "limits"}'), trace="4bf92f3577b34da6a3ce929d0e0e4736",
        kin=Kin(2, 97, NOW - timedelta(minutes=104)), retry=RetryPolicy(max_attempts=5),
        env=("LLM_URL", "LLM_KEY"), why="It failed. A replay starts it anew.",
    )  # fmt: skip
    screen._on_detail(detail)  # pyright: ignore[reportPrivateUsage]
    await pilot.pause(0.1)
    await show(app, pilot)
    return screen
