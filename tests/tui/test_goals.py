"""The console's numbers: a short round always, their goals where the machine is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.figures import SHORT, Amount, Figure, load
from support.goals import LINES, LISTS, measured

if TYPE_CHECKING:
    from headway_ops.local.nats import NatsServer

BRIEF = ("start", "lines", "event", "cut")
"""What the normal run has time for."""


async def test_the_numbers_can_be_measured_and_no_line_is_lost(
    nats_server: NatsServer, database: str
) -> None:
    """No time is looked at: the machine may be anybody's."""
    found = await measured(nats_server, database, SHORT, BRIEF)
    assert all(figure.measured >= 0 for figure in found)
    lost = [figure for figure in found if figure.what.startswith(("lines missing", "link"))]
    assert [f.what for f in lost if f.unit == "" and not f.ok] == []
    assert len(lost) >= 3


def test_a_goal_is_missed_above_it_or_below_the_least() -> None:
    assert Figure("a", 5, 5, "ms").ok
    assert "MISSED" in str(Figure("a", 6, 5, "ms"))
    assert Figure("a", 5, 5, "/s", least=True).ok
    assert "MISSED" in str(Figure("a", 4, 5, "/s", least=True))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_the_goals_are_met(nats_server: NatsServer, database: str) -> None:
    found = await measured(nats_server, database, Amount(), LINES)
    missed = [str(f) for f in found if not f.ok]
    assert not missed, "\n".join([load(), *missed])


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_the_goals_of_long_lists_are_met(nats_server: NatsServer, database: str) -> None:
    found = await measured(nats_server, database, Amount(), LISTS)
    missed = [str(f) for f in found if not f.ok]
    assert not missed, "\n".join([load(), *missed])
