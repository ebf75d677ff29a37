"""What must hold after a storm beyond what `headway verify` sees: the outside world's own view.

What callers were told, what user code was given, in which order the world saw effects. Each
function gives sentences about what is wrong; none is good.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime  # a Struct's field
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from chaos.kit import tasks
from headway.bus import connect
from headway.config import Settings
from headway.states import TERMINAL, RunState
from headway_ops.verify import Ask
from headway_ops.verify.edgelog import EdgeLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.kit.effects import Entry
    from chaos.storm.load import Note

S = RunState


class Row(msgspec.Struct):
    """An event as stored."""

    n: int
    at: datetime
    kind: str
    epoch: int
    source: str
    target: str
    data: dict[str, Any]


class Stored(msgspec.Struct):
    """What the store has of all runs."""

    states: dict[str, str]
    reasons: dict[str, str]
    events: dict[str, list[Row]]
    checkpoints: dict[str, set[int]]


async def read(dsn: str) -> Stored:
    """All of it, in one snapshot."""
    db = await asyncpg.connect(dsn)
    try:
        async with db.transaction(isolation="repeatable_read", readonly=True):
            runs = await db.fetch("SELECT id, state, reason FROM runs")
            rows = await db.fetch(
                "SELECT run, n, at, kind, epoch, source, target, data FROM events ORDER BY run, n"
            )
            saved = await db.fetch("SELECT run, number FROM checkpoints")
    finally:
        await db.close()
    events: dict[str, list[Row]] = defaultdict(list)
    for r in rows:
        data = msgspec.json.decode(r["data"] or b"{}", type=dict[str, Any])
        events[r["run"]].append(
            Row(r["n"], r["at"], r["kind"], r["epoch"], r["source"], r["target"], data)
        )
    checkpoints: dict[str, set[int]] = defaultdict(set)
    for r in saved:
        checkpoints[r["run"]].add(r["number"])
    return Stored(
        {r["id"]: r["state"] for r in runs},
        {r["id"]: r["reason"] for r in runs},
        events,
        checkpoints,
    )


async def read_edge(nats: str) -> Stored:
    """The same of an edge, from RUNS."""
    nc = await connect(Settings(nats_url=nats), kind="engine", ident="audit")
    log = EdgeLog(nc, Ask(""))
    stored = Stored({}, {}, defaultdict(list), defaultdict(set))
    try:
        await log.read()
        for told in log.all():
            if not told.fields:
                continue
            stored.states[told.id] = told.fields["state"]
            stored.reasons[told.id] = told.fields.get("reason", "")
            stored.events[told.id] = [
                Row(e.n, e.at, e.kind, e.epoch, e.source, e.target, e.data) for e in told.events
            ]
            stored.checkpoints[told.id] = set(told.checkpoints)
    finally:
        log.close()
        await nc.close()
    return stored


def last_end(stored: Stored) -> float:
    """When the last run ended, seconds since the epoch."""
    return max(events[-1].at.timestamp() for events in stored.events.values())


def latest(stored: Stored, since: float, beyond: float = 10.0) -> list[str]:
    """What the three runs that ended last did after `since`, if it took them long."""
    ends = sorted((events[-1].at.timestamp() - since, run) for run, events in stored.events.items())
    return [
        f"late: run {run}: "
        + ", ".join(
            f"{e.kind} {e.data.get('reason', '')}{e.at.timestamp() - since:+.1f}"
            for e in stored.events[run][-12:]
        )
        for after, run in ends[-3:]
        if after > beyond
    ]


def stuck(stored: Stored) -> list[str]:
    """I2: with nothing in the way every run has ended."""
    return [
        f"run {run} is {state} {stored.reasons[run]}".rstrip()
        for run, state in sorted(stored.states.items())
        if S(state) not in TERMINAL
    ]


def broken_cancels(stored: Stored, journal: Iterable[Note]) -> list[str]:
    """P7: what was told to be cancelled ended so."""
    return [
        f"run {n.run}: its cancel was answered {n.word!r}, it is {stored.states.get(n.run)}"
        for n in journal
        if n.op == "cancel"
        and n.word.split(" ")[0] == "ok"
        and stored.states.get(n.run) != S.CANCELLED.value
    ]


def checkpoints(stored: Stored, ledger: Iterable[Entry], numbers: dict[str, int]) -> list[str]:
    """I7, I8: an attempt goes on at the last checkpoint that any earlier one was told of, or later.

    By epoch, not by the order of the ledger: an answer may come to the ledger late. `numbers`: what
    the state of each run must be made of.
    """
    told: dict[str, dict[int, int]] = defaultdict(dict)
    begun: dict[str, list[Entry]] = defaultdict(list)
    for e in ledger:
        if e.kind == "saved":
            told[e.run][e.epoch] = max(e.number, told[e.run].get(e.epoch, 0))
        elif e.kind == "begin":
            begun[e.run].append(e)
    wrong: list[str] = []
    for run, entries in begun.items():
        plan = numbers.get(run)
        for e in entries:
            before = max((n for epoch, n in told[run].items() if epoch < e.epoch), default=0)
            if e.number < before:
                wrong.append(f"run {run}: epoch {e.epoch} began at {e.number}, told of {before}")
            if plan is not None and e.data != {
                "at": e.number,
                "total": tasks.chain(plan, e.number),
            }:
                wrong.append(f"run {run}: epoch {e.epoch} began at {e.number} with {e.data}")
    for run, state in stored.states.items():
        if state == S.SUCCEEDED.value and run in begun:
            missing = set(range(1, tasks.STEPS + 1)) - stored.checkpoints[run]
            if missing:
                wrong.append(f"run {run} succeeded without checkpoints {sorted(missing)}")
    return wrong


def once_again(
    ledger: Iterable[Entry], policies: dict[str, str]
) -> tuple[list[str], list[str], list[str]]:
    """I9: (entered after its done was acknowledged, more than once though at most once, zombies).

    The third list is no fault: under `rerun` an older attempt that nobody could stop may do again
    what a newer one has done; the token is there for that.
    """
    acked: dict[str, int] = {}
    effects: dict[str, int] = defaultdict(int)
    again: list[str] = []
    zombies: list[str] = []
    for e in ledger:
        if e.kind == "acked":
            acked[e.run] = min(e.epoch, acked.get(e.run, e.epoch))
        elif e.kind == "enter" and e.run in acked:
            line = f"run {e.run} ({policies.get(e.run)}): entered at epoch {e.epoch}, acknowledged"
            line += f" at epoch {acked[e.run]}"
            older = e.epoch < acked[e.run] and policies.get(e.run) == "rerun"
            (zombies if older else again).append(line)
        elif e.kind == "effect":
            effects[e.run] += 1
    more = [
        f"run {run}: {count} effects under `raise`"
        for run, count in effects.items()
        if count > 1 and policies.get(run) == "raise"
    ]
    return again, more, zombies
