"""Errors: what users may catch, and control flow that they must not.

`HeadwayError` is the base. Its default message is the class's docstring, so that documentation and
message cannot differ; each says what to do next. Control flow (`Suspended`, `OnceAmbiguous`) is a
BaseException: `except Exception` in a task does not swallow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


class HeadwayError(Exception):
    """Something in Headway refused or failed."""

    code = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


# --- definitions and arguments


class BadName(HeadwayError):
    """A name holds a-z, 0-9, `_` and `-`, starts with a letter or digit, at most 64 characters."""

    code = "bad_name"

    def __init__(self, what: str, value: str) -> None:
        self.what, self.value = what, value
        super().__init__(f"bad {what} {value[:80]!r}: {type(self).__doc__}")


class BadPolicy(HeadwayError):
    """A task's policy has a value that cannot be used."""

    code = "bad_policy"

    def __init__(self, what: str, value: Any, expected: str) -> None:
        self.what, self.value, self.expected = what, value, expected
        super().__init__(f"{what}={value!r}: expected {expected}")


class BadTask(HeadwayError):
    """A task definition is wrong; `headway check` says where."""

    code = "bad_task"


class BadPayload(HeadwayError):
    """The payload does not fit the task's parameters; the path names the field."""

    code = "bad_payload"


class TooLarge(HeadwayError):
    """A body is over its limit; nothing was sent."""

    code = "too_large"

    def __init__(
        self,
        what: str,
        size: int,
        limit: int,
        todo: str = "keep large data in your own storage and save a reference",
    ) -> None:
        self.what, self.size, self.limit = what, size, limit
        super().__init__(f"{what} is {size:,} bytes, the limit is {limit:,}: {todo}")


class NotEncodable(HeadwayError):
    """A value cannot be written as JSON; the run ends, since trying again cannot help."""

    code = "not_encodable"


class StateMismatch(HeadwayError):
    """The saved state does not fit the type that `resume` asks for; the state is kept.

    Give `resume(..., migrate=fn)`, or roll the code back, then resume the run.
    """

    code = "state_mismatch"


# --- verbs inside a task


class NotInRun(HeadwayError):
    """This verb works inside a running task only; use `headway.testing` to try a task in memory."""

    code = "not_in_run"


class DuplicateKey(HeadwayError):
    """A key was used twice in one attempt: give each step, once, sleep or wait its own key."""

    code = "duplicate_key"


class KeyMismatch(HeadwayError):
    """A key names another verb or function than the one that was recorded under it."""

    code = "key_mismatch"


class NestedVerb(HeadwayError):
    """A verb was called inside a function that step() or once() runs: call it outside."""

    code = "nested_verb"


class SyncInLoop(HeadwayError):
    """A blocking verb of headway.sync was called under a running event loop: use `await`."""

    code = "sync_in_loop"


class NotExecuted(HeadwayError):
    """Raise it inside once(): the effect certainly did not happen, so it may run again."""

    code = "not_executed"


class StopRun(HeadwayError):
    """Raise it in a task: the run fails now and is not tried again."""

    code = "stop_run"


class RetryIn(HeadwayError):
    """Raise it in a task: try again after that many seconds (it uses an attempt)."""

    code = "retry_in"

    def __init__(self, delay: float, message: str | None = None) -> None:
        self.delay = delay
        super().__init__(message or f"try again in {delay:g} s")


class RetryAt(HeadwayError):
    """Raise it in a task: try again at that time (it uses an attempt)."""

    code = "retry_at"

    def __init__(self, at: datetime, message: str | None = None) -> None:
        self.at = at
        super().__init__(message or f"try again at {at.isoformat()}")


# --- what callers of enqueue(), result() and the control verbs see


class NotReachable(HeadwayError):
    """No answer from Headway: is `headway up` (or NATS and the engine) running?"""

    code = "not_reachable"


class NotAllowed(NotReachable):
    """NATS does not let this user ask for that; asking again will not help."""

    code = "not_allowed"

    def __init__(self, subject: str, user: str) -> None:
        self.subject, self.user = subject, user
        super().__init__(
            f"NATS does not let {user} publish on {subject}: this user lacks that right."
            " Whoever runs your NATS can give it (`headway nats config` writes the users and what"
            " each may do), or use the credentials of one who has it"
        )


class ReadOnly(HeadwayError):
    """The context of this connection is read-only: nothing that changes something is sent.

    Another context, or `readonly` out of its file.
    """

    code = "read_only"

    def __init__(self, what: str, context: str) -> None:
        super().__init__(
            f"{what} was not sent: the context {context!r} is read-only (take `readonly` out of its"
            " file, or use another one)"
        )


class NotRecorded(NotReachable):
    """Enqueued, but not recorded in time, and this NATS may lose it in a power cut.

    The run is not lost otherwise: wait with the handles in `handles`, or repeat with the same id.
    """

    code = "not_recorded"

    def __init__(self, handles: list[Any]) -> None:
        self.handles = handles
        super().__init__()


class QueueFull(HeadwayError):
    """INGEST is full: the engine or the store is behind; nothing was enqueued, try again later."""

    code = "queue_full"


class Refused(HeadwayError):
    """The engine refused the request."""

    code = "refused"

    def __init__(self, message: str | None = None, code: str = "refused") -> None:
        self.code = code
        super().__init__(message)


class BadQuery(HeadwayError):
    """The query cannot be read; the message says where, and what was expected."""

    code = "bad_query"

    def __init__(self, column: int, what: str, expected: str, suggestion: str = "") -> None:
        """`column`: of the flaw, from 1. `suggestion`: what was probably meant."""
        self.column, self.what = column, what
        self.expected, self.suggestion = expected, suggestion
        super().__init__(
            f"column {column}: {what}; expected {expected}"
            + (f"; did you mean {suggestion}?" if suggestion else "")
        )


class KeyConflict(Refused):
    """This idempotency key belongs to a run with another payload."""


class SomeRefused(Refused):
    """Some of the enqueues of one call were refused; `handles` has all, `refused` says which."""

    def __init__(self, handles: list[Any], refused: list[tuple[str, str, str]]) -> None:
        self.handles, self.refused = handles, refused
        run, code, reason = refused[0]
        super().__init__(
            f"{len(refused)} of {len(handles)} enqueues were refused;"
            f" the first: run {run}: {code}: {reason}",
            code,
        )


class NoSuchRun(Refused):
    """No run has this id (or it was pruned after its retention)."""


class RunFailed(HeadwayError):
    """The run ended without a result; `status`, `error_type` and `traceback` say how."""

    code = "run_failed"

    def __init__(
        self, run: str, status: str, error_type: str, message: str, traceback: str = ""
    ) -> None:
        self.run, self.status = run, status
        self.error_type, self.error_message, self.traceback = error_type, message, traceback
        super().__init__(
            f"run {run} {status}: {error_type}: {message}"
            if error_type
            else f"run {run} {status}: {message}"
        )


def refusal_of(code: str, reason: str) -> HeadwayError:
    """The typed error for the engine's refusal of an enqueue or a command."""
    if code in ("bad_payload", "payload"):
        return BadPayload(reason)
    if code == "key_conflict":
        return KeyConflict(reason, code)
    return Refused(reason or code, code)


# --- control flow: never caught by `except Exception`


class Control(BaseException):
    """Control flow of the runner; a task must let it pass."""


class Suspended(Control):
    """The run waits without a container; let this pass (you caught a BaseException)."""


class OnceAmbiguous(Control):
    """A once() block was interrupted: it may or may not have happened, and a person decides.

    Let it pass: the run goes to REVIEW. (Choose `on_ambiguous=` or `check=` to decide in code.)
    """

    def __init__(self, key: str, token: str, waits: bool = False) -> None:
        self.key, self.token = key, token
        self.waits = waits
        """It has a policy, which waits until an older attempt is confirmed dead."""
        super().__init__(f"once({key!r}) was interrupted; token {token}")


class OverBudget(Control):
    """The run has used more than its budget: it stops here and waits for a person.

    Let it pass: the run goes to REVIEW, with its last checkpoint, and uses no retry.
    """


class StaleAttempt(Control):
    """A newer attempt of this run exists; this one ends at once with exit code 87."""
