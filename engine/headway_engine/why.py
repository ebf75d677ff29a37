"""Why a run is where it is, in one sentence, and what would move it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from headway.states import RunState
from headway_engine.names import meant
from headway_engine.store.records import AgentState, QueueState

if TYPE_CHECKING:
    from headway_engine.store.records import Run

S = RunState


class Facts(Struct):
    """What is known around the run."""

    now: datetime
    queue: QueueState | None
    """Settings and numbers of the run's queue; None = nothing is known of it."""
    agents: Sequence[AgentState]
    """Agents of the namespace."""
    last_error: str = ""
    """Of the last failed attempt."""
    attempt_marks: tuple[str, ...] = ()
    """Keys of interrupted once marks."""
    named_queues: frozenset[str] = frozenset()
    """Queues that tasks, agents or settings name; empty = not asked."""


def explain(run: Run, facts: Facts) -> str:
    """The sentence."""
    match run.state:
        case S.QUEUED:
            return _queued(run, facts)
        case S.DELAYED:
            return f"It starts {_when(run.due_at, facts.now)}; resume starts it now."
        case S.RETRYING:
            why = f" after {facts.last_error}" if facts.last_error else ""
            return (
                f"Attempt {run.failures} of {run.policy.max_attempts} failed{why}; the next one"
                f" starts {_when(run.due_at, facts.now)}. Resume skips the backoff."
            )
        case S.WAITING:
            if run.due_at is None:
                return "It waits for an answer, and holds no container meanwhile."
            return f"It sleeps until {_when(run.due_at, facts.now)}, and holds no container."
        case S.STARTING:
            return f"Agent {run.agent} has claimed it and starts its container."
        case S.RUNNING:
            return _running(run, facts)
        case S.CANCELLING:
            return (
                f"It was cancelled; agent {run.agent} stops its code. If that agent is gone, it is"
                " cancelled when the agent's lease ends."
            )
        case S.REVIEW:
            return _review(run, facts)
        case _:
            return _ended(run, facts)


def _when(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "at an unknown time"
    seconds = (at - now).total_seconds()
    stamp = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"now (due {stamp})" if seconds <= 0 else f"in {_span(seconds)} ({stamp})"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _queued(run: Run, facts: Facts) -> str:
    queue = facts.queue
    name = run.queue
    if queue is not None and queue.paused:
        return f"Queue {name} is paused: resume the queue to start it."
    alive = [a for a in facts.agents if a.alive and name in a.queues]
    if not alive and facts.named_queues and name not in facts.named_queues:
        hint = meant(name, facts.named_queues)
        return f"No task, agent or setting knows queue {name} ({hint}): replay it with --queue."
    if not alive:
        others = sorted({q for a in facts.agents if a.alive for q in a.queues})
        hint = f" (live agents serve: {', '.join(others)})" if others else " (no agent is alive)"
        return f"No live agent serves queue {name}{hint}: start one with {name} among its `queues`."
    fit = [a for a in alive if not a.drain]
    if not fit:
        names = ", ".join(a.agent for a in alive)
        return (
            f"Every agent of queue {name} drains ({names}): start another one, or take them back"
            f" with `headway agents drain {alive[0].agent} --undo`."
        )
    alive, fit = fit, [a for a in fit if not a.degraded]
    if not fit:
        a = alive[0]
        return f"Every agent of queue {name} is degraded; {a.agent}: {a.degraded}."
    kind = "shared slots" if run.shared else "slots"
    fit = [a for a in fit if (a.shared_slots if run.shared else a.slots)]
    if not fit:
        return f"No live agent of queue {name} has {kind}."
    if queue is not None:
        if queue.limit and queue.open >= queue.limit:
            return f"The limit of queue {name} is reached: {queue.open} of {queue.limit} run."
        if queue.key_limit and run.limit_key:
            return (
                f"Queue {name} runs at most {queue.key_limit} at once for key"
                f" {run.limit_key!r}: it waits for its turn, or for a free slot."
            )
    total = sum(a.shared_slots if run.shared else a.slots for a in fit)
    busy = sum(a.open for a in fit)
    if busy >= total:
        ahead = queue.queued if queue is not None else 0
        return (
            f"All {total} {kind} of queue {name} are taken; {ahead} runs wait in it,"
            " by priority, then age."
        )
    return f"It is about to start: queue {name} has free slots."


def _running(run: Run, facts: Facts) -> str:
    at = run.attempt_at or run.claimed_at
    since = f" for {_span((facts.now - at).total_seconds())}" if at is not None else ""
    agent = next((a for a in facts.agents if a.agent == run.agent), None)
    if agent is not None and not agent.alive:
        return (
            f"It ran on agent {run.agent}, whose lease has ended: it goes back to its queue"
            " within seconds, with no retry used."
        )
    done = f"; last checkpoint #{run.ck}" if run.ck else "; no checkpoint yet"
    return f"It runs on agent {run.agent}{since}{done}."


def _review(run: Run, facts: Facts) -> str:
    if run.reason == "once":
        keys = ", ".join(facts.attempt_marks) or "a once block"
        alive = (
            ""
            if not run.unconfirmed
            else " Its older attempt is not confirmed dead and may still run the effect."
        )
        return (
            f"Interrupted inside once: {keys}. Nobody knows whether it happened: look it up by its"
            f" token, then resume with `done`, `rerun` or `fail` for each key.{alive}"
        )
    if run.reason == "unconfirmed":
        return (
            "An older attempt may still be inside its once block, on a host that was lost: the run"
            " goes on by itself when an agent has seen that attempt's end. Resume with override if"
            " you know that it is dead."
        )
    if run.reason == "lost":
        return (
            f"Its attempts were lost {run.lost} times since checkpoint {run.ck}: it may kill its"
            " host. Resume tries again, cancel ends it."
        )
    if run.reason == "version":
        return (
            f"No agent has {f'version {run.version}' if run.version else 'the current version'}"
            " of its task: bring that image to an agent and resume,"
            " or replay the run with the current version."
        )
    if run.reason == "state":
        return (
            "The saved state does not fit the code's type: deploy code that can read it (or a"
            " migrate= function), then resume."
        )
    if run.reason == "budget":
        return (
            "It has used its budget. Resume it with a higher one (`headway resume RUN --budget"
            " USD`, `--budget-tokens N`): it goes on from its last checkpoint. Cancel ends it."
        )
    if run.reason == "blob":
        return (
            "Its payload or saved state, which lies in the blob store, is gone or damaged: bring it"
            " back (a backup, another version of the object), then resume; or replay the run."
        )
    return f"A person must decide ({run.reason or 'no reason given'}): resume, cancel or replay it."


def _ended(run: Run, facts: Facts) -> str:
    match run.state:
        case S.SUCCEEDED:
            return "It has ended with a result."
        case S.CANCELLED:
            return f"It was cancelled{f': {run.reason}' if run.reason else ''}."
        case S.EXPIRED:
            return "It was not started within its TTL or deadline. A replay starts it anew."
        case S.TIMED_OUT:
            what = "The run's deadline" if run.reason == "deadline" else "The task's timeout"
            return f"{what} passed. A replay starts it anew."
        case _:
            error = f" with {facts.last_error}" if facts.last_error else ""
            return (
                f"It failed{error} ({run.reason or 'error'}, attempt {run.failures} of"
                f" {run.policy.max_attempts}). A replay starts it anew."
            )
