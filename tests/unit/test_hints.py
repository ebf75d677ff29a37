"""What a dispatcher tells those of other engines, and what it keeps to itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from headway.states import RunState
from headway_engine.credits import Credits
from headway_engine.dispatch import Dispatcher
from headway_engine.store.records import Outcome, QueueState

NOBODY: Any = None
PLACE = ("default", "q")


class Posted:
    """What is put on subjects."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def put(self, subject: str, body: bytes) -> None:
        """One message."""
        assert subject == "hw.wake"
        self.texts.append(body.decode())


def dispatcher(engines: int, *, limit: int) -> tuple[Dispatcher, Posted]:
    """One that knows a queue and an agent with much room."""
    posted = Posted()
    made = Dispatcher(NOBODY, NOBODY, cast("Any", posted), Credits(), lambda: "", NOBODY)
    made.credits.engines = engines
    state = QueueState("default", "q", limit=limit)
    made.counted([state], [])
    now = made._loop.time()  # pyright: ignore[reportPrivateUsage]
    made.credits.registered("default", "a1", ("q",), 8, 8, now)
    return made, posted


def moved(state: RunState) -> Outcome:
    """A commit that led there."""
    run = SimpleNamespace(ns="default", queue="q", state=state, shared=False)
    return Outcome("ok", "", cast("Any", run), [cast("Any", "event")])


@pytest.mark.parametrize(
    ("engines", "limit", "told"),
    [(2, 1, ["default.q", "left default.q", "default.q"]), (2, 0, ["default.q"]), (1, 1, [])],
)
async def test_whose_turn_it_may_be_in_a_queue_with_limits_hears_of_runs_and_slots(
    engines: int, limit: int, told: list[str]
) -> None:
    made, posted = dispatcher(engines, limit=limit)
    made.told([moved(RunState.QUEUED)])
    made.told([moved(RunState.SUCCEEDED)])
    made.changed(PLACE)
    assert posted.texts == told
