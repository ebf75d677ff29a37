"""Headway: durable tasks for Python. This is all that a program imports.

A task is a function. `checkpoint` saves its state; when its container dies, a new attempt starts
at the first line, `resume` gives the state back, and keyed verbs (`step`, `once`, `sleep`, a call
of another task) give their recorded answers. In a plain `def` task the same verbs come from
`headway.sync` and block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway._version import __version__
from headway.checkpoints import checkpoint, resume
from headway.context import AttemptInfo, attempt, token
from headway.effects import Done, NotDone, Unknown, once, step
from headway.errors import (
    BadName,
    BadPayload,
    BadPolicy,
    BadTask,
    DuplicateKey,
    HeadwayError,
    KeyConflict,
    KeyMismatch,
    NestedVerb,
    NoSuchRun,
    NotEncodable,
    NotExecuted,
    NotInRun,
    NotReachable,
    OnceAmbiguous,
    OverBudget,
    QueueFull,
    Refused,
    RetryAt,
    RetryIn,
    RunFailed,
    StateMismatch,
    StopRun,
    Suspended,
    SyncInLoop,
    TooLarge,
)
from headway.retry import Retry
from headway.spending import usage
from headway.states import RunState
from headway.tasks import Task, task
from headway.waits import sleep

if TYPE_CHECKING:
    from headway.client import Client, RunHandle

__all__ = [
    "AttemptInfo",
    "BadName",
    "BadPayload",
    "BadPolicy",
    "BadTask",
    "Client",
    "Done",
    "DuplicateKey",
    "HeadwayError",
    "KeyConflict",
    "KeyMismatch",
    "NestedVerb",
    "NoSuchRun",
    "NotDone",
    "NotEncodable",
    "NotExecuted",
    "NotInRun",
    "NotReachable",
    "OnceAmbiguous",
    "OverBudget",
    "QueueFull",
    "Refused",
    "Retry",
    "RetryAt",
    "RetryIn",
    "RunFailed",
    "RunHandle",
    "RunState",
    "StateMismatch",
    "StopRun",
    "Suspended",
    "SyncInLoop",
    "Task",
    "TooLarge",
    "Unknown",
    "__version__",
    "attempt",
    "checkpoint",
    "once",
    "resume",
    "sleep",
    "step",
    "task",
    "token",
    "usage",
]


def __getattr__(name: str) -> Any:
    """`Client` and `RunHandle` load NATS, so they come when they are asked for (PEP 562)."""
    if name in ("Client", "RunHandle"):
        from headway import client

        return getattr(client, name)
    raise AttributeError(f"module 'headway' has no attribute {name!r}")
