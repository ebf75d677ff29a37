"""Which metrics there are: their names, meanings and labels. Pure; ops/deploy builds on the names.

Names follow Prometheus: base units, `_total` for what only grows. Each process says its own
numbers; queues are the store's, so every engine that watches them says the same: take `max`, never
`sum`, of `headway_queue_*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from headway_engine.counters import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headway_engine.credits import Place
    from headway_engine.metrics.timing import Timing
    from headway_engine.store.records import QueueState

Labels = dict[str, str]


class Family(NamedTuple):
    """One metric with all its label values; a counter's name is without `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[Labels, float | Timing]]


ENGINE_COUNTERS = COUNTED | {
    "recorded": "enqueues recorded in the store",
    "rejected": "enqueues refused",
    "malformed": "INGEST messages that nobody can read",
    "dispatched": "runs given to WORK",
    "claimed": "runs claimed by agents",
    "events": "events published to RUNS",
    "due": "runs made runnable again by a timer",
    "api": "requests of clients and consoles that were served",
    "strikes": "requests whose reply was no inbox of their sender",
    "spans_exported": "spans that the collector took",
    "spans_refused": "batches of spans that the collector did not take; they are tried again",
    "dropped": "messages that NATS could not be handed in time",
}
"""What only grows in an engine, from its start on."""
ENGINE_GAUGES = {
    "tasks": "asyncio tasks now",
    "events_left": "events that are not yet acknowledged by RUNS",
    "saves_waiting": "saves that wait for the store",
    "commits_waiting": "transitions that wait for the store",
    "ingest_messages": "messages of enqueues that wait in NATS; every engine says the same",
    "store_connections": "connections to the store that are busy",
    "unshipped": "runs that a site removed before its hub had confirmed them, for want of room",
}
ENGINE_TIMINGS = {
    "save": "one group of saves at the store, from its statement to its commit",
    "commit": "one group of transitions at the store",
    "intake": "one batch of enqueues at the store",
    "start": "from an agent's claim until user code began",
}
AGENT_COUNTERS = {
    "ended": "attempts that ended here",
    "stale": "attempts stopped since a newer one exists",
    "frozen": "times the lease was overdue and saves waited",
    "violations": "runners cut off for breaking the channel's rules",
    "redelivered": "messages of WORK that were delivered before",
    "log_lines": "lines of output taken from attempts",
    "log_lines_dropped": "lines that runners or the agent dropped over the rate; they show as gaps",
    "spans": "spans taken from attempts",
    "spans_dropped": "spans that runners or the agent dropped: over the rate, or malformed; gaps",
}
"""What only grows in an agent, from its start on."""
AGENT_TIMINGS = {
    "start": "from handing a run to its container until its code runs",
    "attempt": "from handing a run to its container until its end was told",
}


def engine_families(
    labels: Labels,
    counters: Mapping[str, float],
    timings: Mapping[str, Timing],
    *,
    ready: bool,
    store_up: bool,
    ends: Mapping[str, int],
    queues: Iterable[QueueState],
    waits: Mapping[Place, Timing],
    start: Timing,
    states: Mapping[tuple[str, str], int],
) -> list[Family]:
    """All of an engine; `labels`: of `headway_engine_info`; `ends`: transitions by event kind.

    `waits`: of each queue, until the claim; `start`: from there; `states`: live runs by namespace
    and state.
    """
    found = [
        Family("headway_engine_info", "gauge", "who this is: always 1", [(labels, 1.0)]),
        Family("headway_engine_ready", "gauge", "1 while it serves", [({}, float(ready))]),
        Family(
            "headway_engine_store_up", "gauge", "1 while the store commits", [({}, float(store_up))]
        ),
        Family(
            "headway_engine_transitions", "counter", "events of committed transitions, by kind",
            [({"kind": kind}, float(n)) for kind, n in sorted(ends.items())],
        ),
        *_plain("headway_engine", "counter", ENGINE_COUNTERS, counters),
        *_plain("headway_engine", "gauge", ENGINE_GAUGES, counters),
        *_timed("headway_engine", ENGINE_TIMINGS, {**timings, "start": start}),
        Family(
            "headway_engine_wait_seconds", "histogram",
            "from coming into the queue until an agent took the run",
            [({"ns": ns, "queue": queue}, t) for (ns, queue), t in sorted(waits.items())],
        ),
        Family(
            "headway_runs", "gauge", "live runs by state, as the store has them",
            [({"ns": ns, "state": s}, float(n)) for (ns, s), n in sorted(states.items())],
        ),
    ]  # fmt: skip
    return found + _queues(sorted(queues, key=lambda q: (q.ns, q.queue)))


def agent_families(
    labels: Labels,
    counters: Mapping[str, float],
    timings: Mapping[str, Timing],
    *,
    slots: tuple[int, int],
    free: tuple[int, int],
    warm: int,
    ready: bool,
    degraded: bool,
    draining: bool,
) -> list[Family]:
    """All of an agent; `slots` and `free`: (run, shared)."""
    both = ("run", "shared")
    return [
        Family("headway_agent_info", "gauge", "who this is: always 1", [(labels, 1.0)]),
        Family("headway_agent_ready", "gauge", "1 while its lease is good", [({}, float(ready))]),
        Family(
            "headway_agent_degraded", "gauge", "1 while it cannot start runners",
            [({}, float(degraded))],
        ),
        Family(
            "headway_agent_draining", "gauge", "1 while it takes nothing new",
            [({}, float(draining))],
        ),
        Family(
            "headway_agent_slots", "gauge", "runs at once, by isolation",
            [({"isolation": k}, float(n)) for k, n in zip(both, slots, strict=True)],
        ),
        Family(
            "headway_agent_slots_free", "gauge", "slots that wait for a run, by isolation",
            [({"isolation": k}, float(n)) for k, n in zip(both, free, strict=True)],
        ),
        Family("headway_agent_warm", "gauge", "runners that wait in the pool", [({}, float(warm))]),
        *_plain("headway_agent", "counter", AGENT_COUNTERS, counters),
        *_timed("headway_agent", AGENT_TIMINGS, timings),
    ]  # fmt: skip


def _plain(
    prefix: str,
    kind: Literal["counter", "gauge"],
    meanings: Mapping[str, str],
    values: Mapping[str, float],
) -> list[Family]:
    return [
        Family(f"{prefix}_{name}", kind, meaning, [({}, float(values[name]))])
        for name, meaning in meanings.items()
        if name in values
    ]


def _timed(prefix: str, meanings: Mapping[str, str], timings: Mapping[str, Timing]) -> list[Family]:
    return [
        Family(f"{prefix}_{name}_seconds", "histogram", meaning, [({}, timings[name])])
        for name, meaning in meanings.items()
        if name in timings
    ]


def _queues(states: list[QueueState]) -> list[Family]:
    def of(name: str) -> list[tuple[Labels, float | Timing]]:
        return [({"ns": q.ns, "queue": q.queue}, float(getattr(q, name))) for q in states]

    return [
        Family("headway_queue_queued", "gauge", "runs that wait for a slot", of("queued")),
        Family("headway_queue_dispatched", "gauge", "runs in WORK", of("dispatched")),
        Family("headway_queue_open", "gauge", "runs in an attempt", of("open")),
        Family("headway_queue_limit", "gauge", "runs at once; 0 = no limit", of("limit")),
        Family("headway_queue_paused", "gauge", "1 while nothing of it starts", of("paused")),
    ]
