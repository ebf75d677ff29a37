"""The console's numbers: a short round always, their goals where the machine is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.goals import SHORT, Amount, all_of_them, load

if TYPE_CHECKING:
    from headway_ops.local.nats import NatsServer


async def test_every_number_can_be_measured_and_no_line_is_lost(
    nats_server: NatsServer, database: str
) -> None:
    """No time is looked at: the machine may be anybody's."""
    found = await all_of_them(nats_server, database, SHORT)
    assert all(figure.measured >= 0 for figure in found)
    assert next(f for f in found if f.what.startswith("lines missing")).ok


@pytest.mark.nightly
async def test_the_goals_are_met(nats_server: NatsServer, database: str) -> None:
    found = await all_of_them(nats_server, database, Amount())
    missed = [str(f) for f in found if not f.ok]
    assert not missed, "\n".join([load(), *missed])
