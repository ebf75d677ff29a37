"""What every stream, consumer and bucket of DESIGN section 6 is set to: no I/O.

Written as the server's JSON API reads it, since nats-py lacks some of the settings. `streams` makes
them, puts them right and finds what somebody changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headway import subjects

Config = dict[str, Any]

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the streams, in bytes; raise them with the disk."""

    ingest_bytes: int = 1 * GIB
    """Enqueue requests that wait for the engine or the store; full = QueueFull at the caller."""
    work_bytes: int = 256 * MIB
    runs_bytes: int = 2 * GIB
    logs_bytes: int = 2 * GIB
    spans_bytes: int = 512 * MIB
    settings_bytes: int = 256 * MIB
    """Edge: settings and replay jobs."""


def declared(limits: Limits | None = None, replicas: int = 1) -> dict[str, Config]:
    """The configuration of every stream in server mode, by name."""
    b = limits or Limits()
    # Replicated streams refuse async persistence; there, replication carries the promise.
    lazy: Config = {"persist_mode": "async"} if replicas == 1 else {}
    all_of: Config = {"storage": "file", "num_replicas": replicas, "duplicate_window": SECOND}
    observed: Config = {**all_of, **lazy, "retention": "limits", "discard": "old"}
    streams: list[Config] = [
        {
            **all_of,
            "name": subjects.INGEST,
            "description": "enqueue requests, until the store has them",
            "subjects": ["hw.in.>"],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": b.ingest_bytes,
        },
        {
            **all_of,
            **lazy,
            "name": subjects.WORK,
            "description": "dispatched runs, until an agent has claimed them",
            "subjects": ["hw.work.>"],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": b.work_bytes,
            "allow_direct": True,
        },
        {
            **observed,
            "name": subjects.RUNS,
            "description": "transitions of runs, after their commit",
            "subjects": [subjects.ALL_RUNS],
            "max_age": 72 * HOUR,
            "max_bytes": b.runs_bytes,
            "allow_direct": True,
            "republish": {"src": subjects.ALL_RUNS, "dest": "hw.live.run.>"},
        },
        _seen("LOGS", "output of attempts", "log", b.logs_bytes, observed),
        _seen("SPANS", "OpenTelemetry spans", "span", b.spans_bytes, observed),
        _bucket(subjects.AGENTS_BUCKET, "presence of agents", all_of | lazy, markers=True),
        _bucket(subjects.SETTINGS_BUCKET, "copy of queues and deployments", all_of | lazy),
    ]
    return {str(s["name"]): s for s in streams}


def declared_edge(limits: Limits | None = None) -> dict[str, Config]:
    """The configuration of every stream at the edge, by name: RUNS is the truth there.

    What holds truth (RUNS, INGEST, settings) is fsynced before each ack; what can be had
    again from it is not. Nothing in RUNS has an age, and no message of it can have one: a run goes
    only as a whole, since a lone message that goes makes an old sequence valid again. No message
    schedules either: the server refuses them beside `discard: new`, and with them it would forget
    the oldest runs when it is full. Timers are the engine's, rebuilt from RUNS.
    """
    b = limits or Limits()
    server = declared(limits)
    base: Config = {"storage": "file", "num_replicas": 1, "duplicate_window": SECOND}
    src, dest = subjects.READY_TO_WORK
    streams: list[Config] = [
        server[subjects.INGEST],
        {
            **base,
            "name": subjects.RUNS,
            "description": "runs: the truth",
            "subjects": [subjects.ALL_RUNS, subjects.KEYS],
            "retention": "limits",
            # A full store refuses what is new, and says so; it never forgets what was acknowledged.
            "discard": "new",
            "max_bytes": b.runs_bytes,
            "allow_direct": True,
            "allow_atomic": True,
            "deny_delete": True,
            "republish": {"src": subjects.ALL_RUNS, "dest": "hw.live.run.>"},
        },
        {
            **base,
            "name": subjects.WORK,
            "description": "runs that may start, until an agent has claimed them",
            "sources": [
                {"name": subjects.RUNS, "subject_transforms": [{"src": src, "dest": dest}]}
            ],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": b.work_bytes,
            "allow_direct": True,
            "persist_mode": "async",
        },
        server[subjects.LOGS],
        server[subjects.SPANS],
        server[f"KV_{subjects.AGENTS_BUCKET}"],
        {
            **_bucket(subjects.SETTINGS_BUCKET, "queues, deployments, jobs: the truth", base),
            "max_bytes": b.settings_bytes,
        },
    ]
    return {str(s["name"]): s for s in streams}


def _seen(name: str, what: str, token: str, size: int, base: Config) -> Config:
    return {
        **base,
        "name": name,
        "description": what,
        "subjects": [f"hw.{token}.>"],
        "max_age": 7 * 24 * HOUR,
        "max_bytes": size,
        "max_msgs_per_subject": 10_000,
        "compression": "s2",
        # Nobody waits for these, and an ack could be aimed at a subject of somebody else.
        "no_ack": True,
        "allow_direct": True,
        "republish": {"src": f"hw.{token}.>", "dest": f"hw.live.{token}.>"},
    }


def _bucket(name: str, what: str, base: Config, *, markers: bool = False) -> Config:
    config: Config = {
        **base,
        "name": f"KV_{name}",
        "description": what,
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_bytes": 64 * MIB,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_msg_ttl": True,
    }
    if markers:
        config["subject_delete_marker_ttl"] = 60 * SECOND
    return config


WORK_ACK_WAIT = 2.0
"""Seconds after which work comes again that an agent has pulled and not spoken of since.

A claim takes milliseconds and is acked at once; one that waits for the store is marked as in
progress. So this is what a killed agent costs the runs that it was about to claim. One more
delivery of work that is claimed already does no harm: its claim is refused.
"""


INTAKE_ACK_WAIT = 4.0
"""Seconds after which enqueues come again that an engine has taken and not spoken of since.

A commit takes milliseconds; what waits longer (for the store) is marked as in progress. So this is
what a killed engine costs the enqueues that it had in its hands.
"""


def intake_consumer() -> Config:
    """The durable consumer of INGEST, shared by all engines."""
    return {
        "durable_name": subjects.INTAKE_CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": int(INTAKE_ACK_WAIT * SECOND),
        "max_deliver": -1,
        "max_ack_pending": 10_000,
        "deliver_policy": "all",
    }


def work_consumer(ns: str, queue: str) -> Config:
    """The durable consumer of one queue in WORK, shared by all agents that serve it."""
    return {
        "durable_name": subjects.work_consumer(ns, queue),
        "filter_subject": subjects.work(ns, queue),
        "ack_policy": "explicit",
        "ack_wait": int(WORK_ACK_WAIT * SECOND),
        "max_deliver": -1,
        # Messages are acked right after the claim: this bounds what is between pull and claim.
        "max_ack_pending": 20_000,
        "deliver_policy": "all",
    }
