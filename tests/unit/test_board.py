"""What an engine keeps of the beats that it hears: whose they are, how long, and what is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from headway import subjects
from headway.wire import encode
from headway.wire.events import AgentBeat, EngineBeat, Sample
from headway.wire.fleet import AgentRow, Metrics, MetricsAsk, QueueFlow, QueueRow
from headway_engine.board import HEARD, KEEP, Board

if TYPE_CHECKING:
    import pytest


class Place:
    """A board whose clock is held, and which hears what it is told."""

    def __init__(self) -> None:
        nothing: Any = None
        self.now = 100.0
        self.board = Board(nothing)
        self.board._clock = lambda: self.now  # pyright: ignore[reportPrivateUsage]

    async def engine(self, name: str, **sample: Any) -> None:
        """An engine's beat."""
        at = datetime.now(UTC)
        beat = EngineBeat(name, "1", "postgres", True, "fsynced", at, sample=Sample(at, **sample))
        await self.board._on_engine(msg(subjects.beat_engine(name), beat))  # pyright: ignore[reportPrivateUsage]

    async def agent(self, name: str, body: str = "", **counters: float) -> None:
        """An agent's beat; in its body it may call itself what it wants."""
        beat = AgentBeat(
            body or name, "other" if body else "default", "h", "docker", (), 4, 0, 0,
            counters=counters, version="9", cpu=0.5, memory=5, memory_total=10, containers=3,
        )  # fmt: skip
        await self.board._on_agent(msg(subjects.beat_agent("default", name), beat))  # pyright: ignore[reportPrivateUsage]

    async def queue(self, engine: str, went: float) -> None:
        """An engine's beat of a queue."""
        row = QueueRow("q", flows=(QueueFlow(engine, datetime.now(UTC), went=went),))
        await self.board._on_queue(msg(subjects.beat_queue("default", "q"), row))  # pyright: ignore[reportPrivateUsage]

    async def metrics(self, ns: str = "default", last: int = 900) -> Metrics:
        """The answer of the verb."""
        asker: Any = SimpleNamespace(ns=ns)
        return await self.board.metrics(asker, encode(MetricsAsk(last)))


def msg(subject: str, body: Any) -> Any:
    return SimpleNamespace(subject=subject, data=encode(body))


def row() -> AgentRow:
    return AgentRow("a1", "h", True, 1, datetime.now(UTC))


async def test_an_agent_is_who_its_subject_says() -> None:
    place = Place()
    await place.agent("a1", body="a2", log_lines=3)
    rows = [row()]
    place.board.on_agents("default", rows)
    assert (rows[0].version, rows[0].cpu, rows[0].containers) == ("9", 0.5, 3)
    other = [row()]
    place.board.on_agents("other", other)
    assert other[0].version == ""
    assert (await place.metrics()).log_lines == 3
    assert (await place.metrics("other")).log_lines == 0


async def test_what_an_agent_said_long_ago_is_not_shown_as_new() -> None:
    place = Place()
    await place.agent("a1")
    place.now += HEARD + 0.1
    rows = [row()]
    place.board.on_agents("default", rows)
    assert rows[0].cpu is None


async def test_lines_of_all_agents_are_one_sample_a_second() -> None:
    place = Place()
    await place.agent("a1", log_lines=100, spans_dropped=1)
    await place.agent("a2", log_lines=50)
    await place.board.once()
    await place.agent("a1", log_lines=130, log_lines_dropped=2, spans_dropped=4)
    await place.agent("a2", log_lines=7)  # started anew
    await place.board.once()
    first, second = (await place.metrics()).agents
    assert first.log_lines == 0  # what was before is not of this second
    assert (second.log_lines, second.log_dropped, second.spans_dropped) == (37, 2, 3)


async def test_the_flow_of_an_engine_that_is_gone_does_not_stay() -> None:
    place = Place()
    for engine in ("e1", "e2"):
        await place.engine(engine)
        await place.queue(engine, 1.5)
    place.now += HEARD
    await place.engine("e2")
    place.now += 1
    await place.board.once()
    rows = [QueueRow("q"), QueueRow("unknown")]
    place.board.on_queues("default", rows)
    assert [f.engine for f in rows[0].flows] == ["e2"]
    assert rows[1].flows == ()


async def test_samples_are_kept_for_a_quarter_of_an_hour() -> None:
    place = Place()
    for i in range(KEEP + 5):
        await place.engine("e1", started=float(i))
    (samples,) = (await place.metrics()).engines.values()
    assert len(samples) == KEEP
    assert samples[-1].started == KEEP + 4
    assert (await place.metrics(last=1)).engines.keys() == {"e1"}


async def test_old_samples_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    await place.engine("e1")
    later = datetime.now(UTC) + timedelta(seconds=KEEP + 60)

    def now(_zone: Any) -> datetime:
        return later

    clock: Any = SimpleNamespace(now=now)
    monkeypatch.setattr("headway_engine.board.datetime", clock)
    await place.board.once()
    assert (await place.metrics()).engines == {}


async def test_a_body_that_nobody_can_read_changes_nothing() -> None:
    place = Place()
    for heard in (place.board._on_engine, place.board._on_agent, place.board._on_queue):  # pyright: ignore[reportPrivateUsage]
        await heard(SimpleNamespace(subject="hw.hb.queue.default.q", data=b"{"))
    found = await place.metrics()
    assert (found.engines, found.agents, found.log_lines) == ({}, [], 0)
