"""What an agent keeps of runs that have ended: nothing that grows with their number."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from headway.wire.reports import AttemptFailed, Finished
from headway_engine.agent import ending
from headway_engine.agent.attempt import Attempt
from headway_engine.agent.conns import Conn, Endpoint
from headway_engine.agent.worker import Worker
from support.agentrig import rigged
from support.wait import until

if TYPE_CHECKING:
    import pytest


def held() -> dict[str, int]:
    """How many objects of each kind that an attempt needs there are."""
    kinds = (Worker, Endpoint, Conn, Attempt)
    found: list[type] = [type(o) for o in gc.get_objects() if type(o) in kinds]
    return {kind.__name__: found.count(kind) for kind in kinds}


async def test_an_ended_run_leaves_nothing_behind_even_before_a_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "EXIT_TIME", 0.1)
    async with rigged() as rig:
        agent = await rig.agent()
        gc.collect()
        gc.disable()
        try:
            before = held()
            alone = [rig.engine.add("add", {"a": 1, "b": n}) for n in range(4)]
            alone.append(rig.engine.add("fails", {}))
            shared = rig.engine.add("add", {"a": 1, "b": 1}, isolation="shared")
            await until(
                lambda: (
                    all(rig.engine.of(r, Finished) for r in [*alone[:4], shared])
                    and rig.engine.of(alone[4], AttemptFailed)
                ),
                30,
            )

            def shared_is_left() -> bool:
                now = held()
                # Those who wait for the next worker's end still have the last one in their hands.
                last = now["Worker"] - before["Worker"] - 1
                return last <= 1 and now == before | {
                    "Worker": before["Worker"] + 1 + last,
                    "Endpoint": before["Endpoint"] + 1,
                    "Conn": before["Conn"] + 1,
                }

            await until(shared_is_left, 20, what="one worker is left")
            assert len(agent.pool.workers) == 1
            assert not agent.attempts.live
        finally:
            gc.enable()
