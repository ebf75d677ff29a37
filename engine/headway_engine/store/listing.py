"""Words of list queries that all stores share, with no I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headway.query.evaluate import error_text
from headway.states import RunState
from headway.wire.fleet import AgentRow
from headway.wire.runs import Facet, Facets, FacetsAsk, OpenMark, Review, RunRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from headway.wire import ErrorInfo
    from headway_engine.store.records import AgentState, OnceMark

S = RunState
COUNTED = frozenset({S.STARTING, S.RUNNING, S.CANCELLING, S.WAITING, S.SUCCEEDED})


NEWEST = 200
"""So many dead letters of a class say what most of them had reached."""
MESSAGE = 500
"""Characters of an error's message that a class shows."""


def message_of(error: ErrorInfo | None) -> str:
    """The message of a class's sample."""
    return "" if error is None else error.message[:MESSAGE]


def review_of(
    since: datetime | None,
    data: Mapping[str, Any],
    marks: Iterable[OnceMark],
    unconfirmed: Sequence[int],
) -> Review:
    """What a run in REVIEW waits for, from the event that sent it there and its record."""
    why = data.get("why")
    return Review(
        since,
        why[:MESSAGE] if isinstance(why, str) else "",
        tuple(OpenMark(m.key, m.token, m.epoch, m.status) for m in marks),
        tuple(unconfirmed),
    )


def attempt_of(state: RunState, failures: int) -> int:
    """Attempts that used a retry, the current (or last, successful) one included."""
    return failures + (state in COUNTED)


_VALUES: dict[str, Callable[[RunRow], tuple[str, ...]]] = {
    "status": lambda r: (r.status,),
    "task": lambda r: (r.task,),
    "queue": lambda r: (r.queue,),
    "tag": lambda r: tuple(set(r.tags)),
    "error": lambda r: (error_text(r).partition(": ")[0],),
    "agent": lambda r: (r.agent,),
    "image": lambda r: (r.version,),
}


def facets_of(rows: Iterable[RunRow], ask: FacetsAsk, now: datetime) -> Facets:
    """The values of these rows, counted: what the SQL of `facets` must answer."""
    counts: dict[str, Counter[str]] = {field: Counter() for field in ask.by}
    matched = 0
    for row in rows:
        matched += 1
        for field, counter in counts.items():
            counter.update(value for value in _VALUES[field](row) if value)
    return Facets(
        now,
        matched,
        values={
            field: [Facet(v, n) for v, n in sorted(c.items(), key=lambda i: (-i[1], i[0]))[: ask.n]]
            for field, c in counts.items()
        },
    )


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
