"""Records for tests: valid by default, override what matters."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from msgspec import Raw

from headway.ids import new_run_id
from headway.states import RunState
from headway.wire import encode
from headway.wire.fleet import Deployment, TaskSpec
from headway.wire.rpc import Register
from headway.wire.saves import SaveCheckpoint, SaveMark
from headway_engine.store.records import NewRun, Run

NS = "default"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the manual clocks of tests begin."""


def a_run(**fields: Any) -> Run:
    """A run that waits in the queue `default`."""
    known: dict[str, Any] = {
        "id": new_run_id(),
        "ns": NS,
        "task": "research",
        "queue": "default",
        "state": RunState.QUEUED,
        "created_at": EPOCH,
    }
    run = Run(**(known | fields))
    run.root = run.root or run.id
    return run


def an_enqueue(
    payload: Any = None,
    *,
    scope: str = "",
    key_until: datetime | None = None,
    queued_at: datetime | None = None,
    **fields: Any,
) -> NewRun:
    """One enqueue on its way into the store; `fields` are of the run."""
    body = encode({"topic": "tides"} if payload is None else payload)
    return NewRun(
        a_run(**fields),
        body,
        None,
        sha256(body).hexdigest(),
        key_scope=scope,
        key_until=key_until,
        queued_at=queued_at,
    )


def a_checkpoint(run: Run, number: int, state: Any = None, **fields: Any) -> SaveCheckpoint:
    """A checkpoint of the run's attempt."""
    body = encode({"turn": number} if state is None else state)
    known: dict[str, Any] = {
        "run": run.id,
        "epoch": run.epoch,
        "number": number,
        "name": f"turn-{number}",
        "sha256": sha256(body).hexdigest(),
        "size": len(body),
        "state": Raw(body),
    }
    return SaveCheckpoint(**(known | fields))


def a_step(run: Run, key: str, value: Any = 1, **fields: Any) -> SaveMark:
    """The result of a step."""
    body = encode(value)
    known: dict[str, Any] = {
        "run": run.id,
        "epoch": run.epoch,
        "key": key,
        "kind": "step",
        "fn": "ask",
        "status": "done",
        "value": Raw(body),
        "size": len(body),
    }
    return SaveMark(**(known | fields))


def a_once(run: Run, key: str, status: str, **fields: Any) -> SaveMark:
    """A move of a once mark."""
    return a_step(run, key, **({"kind": "once", "fn": "send", "status": status} | fields))


def a_deployment(version: str = "v1", **spec: Any) -> Deployment:
    """A version with the one task `research`."""
    known: dict[str, Any] = {"task": "research"}
    return Deployment(version, [TaskSpec(**(known | spec))], modules=("app",))


def an_agent(agent: str = "a1", **fields: Any) -> Register:
    """A registration with four slots of each kind."""
    known: dict[str, Any] = {
        "agent": agent,
        "host": "host",
        "runtime": "process",
        "queues": ("default",),
        "slots": 4,
        "shared_slots": 4,
        "protocol": 1,
        "version": "0",
    }
    return Register(**(known | fields))
