"""Headway: durable tasks for Python. This is all that a program imports.

A task is a function. `checkpoint` saves its state; when its container dies, a new attempt starts
at the first line, `resume` gives the state back, and keyed verbs (`step`, `once`, `sleep`, a call
of another task) give their recorded answers. In a plain `def` task the same verbs come from
`headway.sync` and block.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headway._version import __version__

if TYPE_CHECKING:
    from headway.checkpoints import checkpoint, resume
    from headway.client import Client, RunHandle
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


_NAMES = {
    "checkpoints": "checkpoint resume",
    "client": "Client RunHandle",
    "context": "AttemptInfo attempt token",
    "effects": "Done NotDone Unknown once step",
    "errors": (
        "BadName BadPayload BadPolicy BadTask DuplicateKey HeadwayError KeyConflict "
        "KeyMismatch NestedVerb NoSuchRun NotEncodable NotExecuted NotInRun NotReachable "
        "OnceAmbiguous OverBudget QueueFull Refused RetryAt RetryIn RunFailed "
        "StateMismatch StopRun Suspended SyncInLoop TooLarge"
    ),
    "retry": "Retry",
    "spending": "usage",
    "states": "RunState",
    "tasks": "Task task",
    "waits": "sleep",
}
"""Public names by module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """A name comes with its module when it is asked for (PEP 562): most programs need few.

    `Client` and `RunHandle` load NATS; a task's process never asks for them.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    found = getattr(import_module(f"headway.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
