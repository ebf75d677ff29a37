"""Transitions of a batch: load, decide, write; two round trips, no explicit transaction.

The write takes effect for the rows that are still at the event number that was loaded; the others
are loaded and decided again. Several happenings of one run are decided one upon the other and
written once. A repeat after an unknown commit is decided on the new record, so it is `already`.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from headway.states import MOVES, RunState
from headway.wire import encode
from headway_engine import lifecycle
from headway_engine.happenings import Failed, Finished, Happening, Overdue, Started
from headway_engine.store import StoreDown
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.db import bisect
from headway_engine.store.records import End, MarkWrite, Outcome, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.events import Event
    from headway_engine.happenings import Told
    from headway_engine.store.postgres.db import Connection
    from headway_engine.store.postgres.specs import Specs

_SQL = statements.load("commit")

ROUNDS = 30
"""Lost races in a row before the batch is given up with StoreDown."""
_HOT = (Started, Finished)
_HOT_STATES = frozenset({RunState.RUNNING, RunState.SUCCEEDED, RunState.CANCELLED})

Group = tuple[str, list[tuple[str, Happening]]]
"""A run, and per happening the namespace that its teller speaks for (empty: any)."""


class Plan:
    """What a batch does to one run: the transitions of its happenings, one upon the other."""

    __slots__ = ("end", "events", "free_key", "hot", "marks", "new", "now", "old", "outcomes")

    def __init__(self, old: Run, now: datetime) -> None:
        self.now = now
        self.old = self.new = old
        self.events: list[Event] = []
        self.end: End | None = None
        self.marks: list[MarkWrite] = []
        self.free_key = False
        self.hot = True
        self.outcomes: list[Outcome] = []

    def decide(self, happening: Happening, ns: str = "") -> bool:
        """Add one happening; to a teller from another namespace there is no such run.

        False if it leads to a state that the stored one may not move to in one write: then it
        waits until what came before it is written.
        """
        if ns and ns != self.old.ns:
            self.outcomes.append(Outcome("unknown", "no such run"))
            return True
        t: Transition = lifecycle.decide(self.new, happening, self.now)
        if t.run is not None:
            if self.outcomes and not in_one_write(self.old.state, t.run.state):
                return False
            self.hot = (
                self.hot
                and isinstance(happening, _HOT)
                and t.run.state in _HOT_STATES
                and not t.marks
                and not t.free_key
            )
            self.new = t.run
            self.events += t.events
            self.end = t.end or self.end
            self.marks += t.marks
            self.free_key = self.free_key or t.free_key
        self.outcomes.append(Outcome(t.outcome, t.message, self.new, t.events, t.end, t.stop))
        return True

    def at(self, now: datetime) -> None:
        """It was written then: the hot write takes the store's time itself."""
        for event in self.events:
            event.at = now
        for run in {id(o.run): o.run for o in self.outcomes if o.run is not None}.values():
            if run.attempt_at is self.now:
                run.attempt_at = now
            if run.started_at is self.now:
                run.started_at = now
            if run.ended_at is self.now:
                run.ended_at = now


def in_one_write(source: RunState, target: RunState) -> bool:
    """True if the trigger takes it: a legal move, or started and the next one together."""
    if source is target or target in MOVES[source]:
        return True
    return source is RunState.STARTING and target in MOVES[RunState.RUNNING]


class Commits(Part):
    """See the port."""

    specs: Specs

    async def commit(self, moves: Sequence[Told]) -> list[Outcome]:
        """Carry out `lifecycle.decide` for each; outcomes in order."""
        groups: dict[str, list[tuple[str, Happening]]] = {}
        for move in moves:
            ns = move[2] if len(move) > 2 else ""
            groups.setdefault(move[0], []).append((ns, move[1]))
        answers = await bisect(list(groups.items()), self._commit, _reject)
        left = {run: iter(found) for run, found in zip(groups, answers, strict=True)}
        return [next(left[move[0]]) for move in moves]

    async def _commit(self, groups: Sequence[Group]) -> list[list[Outcome]]:
        done: dict[str, list[Outcome]] = {run: [] for run, _ in groups}
        todo = list(groups)
        for turn in range(ROUNDS):
            plans = self._remembered(todo) if not turn else dict[str, Plan]()
            if rest := [run for run, _ in todo if run not in plans]:
                plans |= await self._plans(await self.db.fetch(_SQL["load"], rest), todo)
            writes = [p for p in plans.values() if p.events]
            written = await self._write(writes) if writes else set[str]()
            again: list[Group] = []
            for run, happenings in todo:
                plan = plans.get(run)
                if plan is None:
                    done[run] += [Outcome("unknown", "no such run") for _ in happenings]
                elif plan.events and run not in written:
                    again.append((run, happenings))
                else:
                    done[run] += plan.outcomes
                    if len(plan.outcomes) < len(happenings):
                        again.append((run, happenings[len(plan.outcomes) :]))
            if not again:
                return [done[run] for run, _ in groups]
            todo = again
            await asyncio.sleep(random.random() * 0.002 * turn)
        raise StoreDown("too many writers at the same runs; try again")

    def _remembered(self, groups: Sequence[Group]) -> dict[str, Plan]:
        """Starts and ends of attempts whose record is known from their claim: need no load.

        The write checks it all the same. Whatever is not a plain move is loaded.
        """
        plans: dict[str, Plan] = {}
        for run, happenings in groups:
            old = self.recent.open(run)
            if old is None:
                continue
            plan = Plan(old, datetime.now(UTC))
            if not all(plan.decide(happening, ns) for ns, happening in happenings):
                continue
            if plan.hot and plan.new.epoch == old.epoch and all(o.events for o in plan.outcomes):
                plans[run] = plan
        return plans

    async def _plans(self, loaded: Sequence[Any], groups: Sequence[Group]) -> dict[str, Plan]:
        wanted = dict(groups)
        plans: dict[str, Plan] = {}
        for row in loaded:
            run = rows.run_of(row)
            happenings = wanted[run.id]
            known = self.specs.peek(run.ns, run.task, run.version)
            if known is None or any(isinstance(h, Failed | Overdue) for _, h in happenings):
                known = await self.specs.get(run.ns, run.task, run.version)
            if known is not None:
                run.policy, run.timeout = known.policy, known.spec.timeout
            plans[run.id] = plan = Plan(run, row["now"])
            for ns, happening in happenings:
                if not plan.decide(happening, ns):
                    break
        return plans

    async def _write(self, plans: Sequence[Plan]) -> set[str]:
        """Ids of the runs that were written, or that cannot be (their outcome is `rejected`)."""
        written: set[str] = set()
        for name, some in (
            ("write_end", [p for p in plans if p.hot]),
            ("write", [p for p in plans if not p.hot]),
        ):
            if not some:
                continue

            async def send(part: Sequence[Plan], name: str = name) -> list[bool]:
                return await self._carry_out(name, part)

            done = await bisect(some, send, _poison)
            written |= {p.new.id for p, yes in zip(some, done, strict=True) if yes}
        return written

    async def _carry_out(self, name: str, plans: Sequence[Plan]) -> list[bool]:
        values: list[Any] = arguments(name, plans)
        if name == "write":
            values.insert(0, plans[0].now)
        one = name == "write_end" and self.short and len(plans) == 1 and len(plans[0].events) <= 2
        spent = self.outbox.take()
        try:
            found = await self.db.fetch(
                _SQL["write_end_one" if one else name],
                self.engine,
                spent,
                *(flat(values) if one else values),
            )
        except BaseException:
            self.outbox.give_back(spent)
            raise
        ids = {row[0] for row in found}
        for p in plans:
            if p.new.id not in ids:
                self.recent.forget(p.new.id)
                continue
            if name == "write_end":
                p.at(found[0][2])
            self.recent.wrote(p.new)
        if found:
            self.outbox.add(found[0][1], [(p.new.id, p.new.n) for p in plans if p.new.id in ids])
        return [p.new.id in ids for p in plans]


class Applied(NamedTuple):
    """One happening that was carried out inside a transaction of the caller's."""

    outcome: Outcome
    outbox: int | None


async def apply_one(conn: Connection, engine: str, run: str, happening: Happening) -> Applied:
    """Within the caller's transaction, on a run that nobody else can have changed."""
    row = (await conn.fetch(_SQL["load"], [run]))[0]
    plan = Plan(rows.run_of(row), row["now"])
    plan.decide(happening)
    if not plan.events:
        return Applied(plan.outcomes[0], None)
    found = await conn.fetch(_SQL["write"], engine, [], row["now"], *arguments("write", [plan]))
    return Applied(plan.outcomes[0], found[0][1] if found else None)


def arguments(name: str, plans: Sequence[Plan]) -> list[list[Any]]:
    """The arrays of a write, from its fourth parameter on."""
    new = [p.new for p in plans]
    head: list[list[Any]] = [
        [r.id for r in new],
        [p.old.n for p in plans],
        [r.n for r in new],
        [r.state.value for r in new],
        [r.epoch for r in new],
    ]
    if name == "write_end":
        head += [
            [p.old.epoch for p in plans],
            [p.new.attempt_at is not p.old.attempt_at for p in plans],
            [r.ended_at is not None for r in new],
        ]
        return [*head, *event_columns(plans), *end_columns(plans)]
    head += [
        [r.failures for r in new],
        [r.lost for r in new],
        [r.lost_ck for r in new],
        [r.unstarted for r in new],
        [" ".join(r.unstarted_agents) for r in new],
        [r.version for r in new],
        [r.resumed for r in new],
        [r.agent for r in new],
        [r.session for r in new],
        [r.nonce for r in new],
        [r.due_at for r in new],
        [r.ttl_at for r in new],
        [r.deadline_at for r in new],
        [r.claimed_at for r in new],
        [r.started_at for r in new],
        [r.attempt_at for r in new],
        [r.ended_at for r in new],
        [r.reason for r in new],
        [" ".join(map(str, r.unconfirmed)) for r in new],
        [p.free_key for p in plans],
        [r.failure for r in new],
        [r.acked for r in new],
    ]
    tags = rows.lean([None if p.new.tags == p.old.tags else _json(p.new.tags) for p in plans])
    return [*head, *event_columns(plans), *end_columns(plans), *mark_columns(plans), tags]


def flat(columns: list[list[Any]]) -> list[Any]:
    """The arguments of `write_end_one` from those of `write_end`: plain values, two events."""
    run, events, end = columns[:8], columns[9:16], columns[17:]
    first = [c[0] if c else None for c in events]
    second = [c[1] if len(c) > 1 else None for c in events]
    return [*(c[0] for c in run), *first, *second, *(c[0] if c else None for c in end)]


def event_columns(plans: Sequence[Plan]) -> list[list[Any]]:
    """run, n, kind, epoch, source, target, actor, data."""
    events = [(p.new.id, e) for p in plans for e in p.events]
    return [
        [run for run, _ in events],
        [e.n for _, e in events],
        [e.kind for _, e in events],
        [e.epoch for _, e in events],
        [e.source for _, e in events],
        [e.target for _, e in events],
        [e.actor for _, e in events],
        rows.lean([encode(e.data) if e.data else None for _, e in events]),
    ]


def end_columns(plans: Sequence[Plan]) -> list[list[Any]]:
    """run, size, body, ref, error."""
    ends = [(p.new.id, p.end) for p in plans if p.end is not None]
    return [
        [run for run, _ in ends],
        [e.size for _, e in ends],
        [bytes(e.result) for _, e in ends],
        rows.lean([rows.pack(e.ref) for _, e in ends]),
        rows.lean([rows.pack(e.error) for _, e in ends]),
    ]


def mark_columns(plans: Sequence[Plan]) -> list[list[Any]]:
    """run, key, kind, fn, status, token, epoch, value, ref, error, due_at, resolved, after."""
    marks = [(p.new.id, m, m.record) for p in plans for m in p.marks]
    return [
        [run for run, _, _ in marks],
        [r.key for _, _, r in marks],
        [r.kind for _, _, r in marks],
        [r.fn for _, _, r in marks],
        [r.status for _, _, r in marks],
        [m.token for _, m, _ in marks],
        [r.epoch for _, _, r in marks],
        [bytes(r.value) for _, _, r in marks],
        [rows.pack(r.ref) for _, _, r in marks],
        [rows.pack(r.error) for _, _, r in marks],
        [r.due_at for _, _, r in marks],
        [r.resolved for _, _, r in marks],
        [m.after for _, m, _ in marks],
    ]


def _json(tags: tuple[str, ...]) -> str:
    return encode(tags).decode()


def _reject(group: Group, why: str) -> list[Outcome]:
    return [Outcome("rejected", why) for _ in group[1]]


def _poison(plan: Plan, why: str) -> bool:
    plan.outcomes = [Outcome("rejected", why) for _ in plan.outcomes]
    return True
