"""Words of list queries that all stores share, with no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.states import RunState
from headway.wire.commands import AgentRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headway_engine.store.records import AgentState

S = RunState
COUNTED = frozenset({S.STARTING, S.RUNNING, S.CANCELLING, S.WAITING, S.SUCCEEDED})


def attempt_of(state: RunState, failures: int) -> int:
    """Attempts that used a retry, the current (or last, successful) one included."""
    return failures + (state in COUNTED)


def agent_rows(agents: Iterable[AgentState], images: Mapping[str, str]) -> list[AgentRow]:
    """Agents as the api shows them. `images`: image id to the version that it belongs to."""
    return [
        AgentRow(
            a.agent,
            a.host,
            a.alive,
            a.session,
            a.lease_until,
            a.runtime,
            a.queues,
            a.slots,
            a.shared_slots,
            a.open,
            a.degraded,
            tuple(sorted(images[i] for i in a.images if i in images)),
            a.drain,
            a.drain_by,
            a.drain_at,
            a.drain_reason,
        )
        for a in agents
    ]
