"""Intake's part of the store: new runs, idempotency keys, refusals, ends (DECISIONS C).

Without keys a batch is one statement; a run that comes alone has a shorter one for the same rows.
Items with a key, an early cancel or marks to copy go through a transaction of their own: existing
ids first, then keys (two statements), then the same insert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway.states import TERMINAL
from headway.wire import NOTHING, encode
from headway.wire.enqueue import Ended, Recorded
from headway.wire.runs import ResultsAnswer
from headway_engine import lifecycle
from headway_engine.happenings import Cancel
from headway_engine.store.forking import GONE
from headway_engine.store.postgres import commit, rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.db import bisect
from headway_engine.store.recording import Room, choose, duplicate, key_of, removed, repeat, seen
from headway_engine.store.records import Dispatch, EnqueueOutcome, ForkPoint, NewRun, Run, Start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway_engine.store.postgres.db import Connection

_SQL = statements.load("enqueue")


class Enqueues(Part):
    """See the port."""

    async def enqueue(
        self,
        ns: str,
        batch: Sequence[NewRun],
        room: Room,
    ) -> tuple[list[EnqueueOutcome], list[Dispatch]]:
        """Record new runs; one outcome per item, in order."""
        done: dict[int, EnqueueOutcome] = {}
        firsts: dict[str, tuple[int, NewRun]] = {}
        plain: list[tuple[int, NewRun]] = []
        special: list[tuple[int, NewRun]] = []
        repeats: list[tuple[int, NewRun]] = []
        for i, new in enumerate(batch):
            if new.run.id in firsts:
                repeats.append((i, new))
                continue
            firsts[new.run.id] = (i, new)
            (special if new.run.key or new.forked is not None else plain).append((i, new))
        given: list[Dispatch] = []
        if plain:

            async def insert(items: Sequence[tuple[int, NewRun]]) -> list[EnqueueOutcome | None]:
                found, dispatched = await self._plain(ns, [new for _, new in items], room)
                given.extend(dispatched)
                return found

            for (i, new), outcome in zip(plain, await bisect(plain, insert, _poison), strict=True):
                if outcome is None:
                    special.append((i, new))  # an early cancel: honour it in one transaction
                else:
                    done[i] = outcome
        if special:

            async def keyed(items: Sequence[tuple[int, NewRun]]) -> list[EnqueueOutcome | None]:
                return list(await self._special(ns, [new for _, new in items]))

            for (i, _), outcome in zip(special, await bisect(special, keyed, _poison), strict=True):
                assert outcome is not None
                done[i] = outcome
        for i, new in repeats:
            first, original = firsts[new.run.id]
            done[i] = repeat(new, original.payload_hash, done[first])
        return [done[i] for i in range(len(batch))], given

    async def _plain(
        self,
        ns: str,
        items: list[NewRun],
        room: Room,
    ) -> tuple[list[EnqueueOutcome | None], list[Dispatch]]:
        give = choose(items, room)
        single = self.short and len(items) == 1 and items[0].run.due_at is None
        now = await self.now() if any(new.run.due_at for new in items) else None
        spent = self.outbox.take()
        try:
            if single:
                values = self._values(items[0])
                found = await self.db.fetch(_SQL["one"], self.engine, ns, give[0], *values, spent)
            else:
                columns = self._columns(items, give, now, False)
                found = await self.db.fetch(_SQL["insert"], self.engine, ns, *columns, spent)
        except BaseException:
            self.outbox.give_back(spent)
            raise
        inserted = {row[0]: row for row in found}
        self._track(found)
        missing = [new for new in items if new.run.id not in inserted]
        looked = await self._look(self.db.fetch, ns, missing) if missing else {}
        out: list[EnqueueOutcome | None] = []
        dispatches: dict[int, Dispatch] = {}
        for new in items:
            row = inserted.get(new.run.id)
            if row is None:
                out.append(looked.get(new.run.id))
                continue
            if row[1] is not None:
                batch = dispatches.setdefault(row[1], Dispatch(row[1], ns, new.run.queue, []))
                batch.runs.append((new.run.id, new.run.shared))
            outcome = self._recorded(new, row[2], now)
            if row[1] is not None and outcome.record is not None:
                self.recent.enqueued(new, outcome.record)
            out.append(outcome)
        return out, list(dispatches.values())

    async def _special(self, ns: str, items: list[NewRun]) -> list[EnqueueOutcome]:
        spent = self.outbox.take()
        try:
            out, found, more = await self.db.call(lambda c: self._transaction(c, ns, items, spent))
        except BaseException:
            self.outbox.give_back(spent)
            raise
        self._track(found)
        for row, last in more:
            self.outbox.add(row, last)
        return out

    async def _transaction(
        self,
        conn: Connection,
        ns: str,
        items: list[NewRun],
        spent: list[int],
    ) -> tuple[list[EnqueueOutcome], list[Any], list[tuple[int | None, list[tuple[str, int]]]]]:
        done: dict[str, EnqueueOutcome] = {}
        more: list[tuple[int | None, list[tuple[str, int]]]] = []
        async with conn.transaction():
            now: datetime = await conn.fetchval("SELECT hw_now()")
            known = await conn.fetch(_SQL["look"], ns, [new.run.id for new in items])
            cancels = {row["id"]: row for row in known if row["actor"] is not None}
            existing = {row["id"]: row for row in known if row["state"] is not None}
            gone = {row["id"] for row in known if row["removed"]}
            for new in items:
                if (row := existing.get(new.run.id)) is not None:
                    done[new.run.id] = _seen(new, row)
                elif new.run.id in gone:
                    done[new.run.id] = removed(new)
            fresh = [new for new in items if new.run.id not in done]
            for new in fresh:
                if (point := new.fork) is not None:
                    source = await conn.fetch(_SQL["hold_source"], ns, point.source, point.number)
                    if not source:
                        done[new.run.id] = EnqueueOutcome(
                            new.run.id, "rejected", code="conflict", reason=GONE
                        )
            fresh = [new for new in fresh if new.run.id not in done]
            fresh = await self._keys(conn, ns, fresh, now, done)
            found: list[Any] = []
            if fresh:
                found = await conn.fetch(
                    _SQL["insert"],
                    self.engine,
                    ns,
                    *self._columns(fresh, [False] * len(fresh), now, True),
                    spent,
                )
            inserted = {row[0] for row in found}
            for new in fresh:
                if new.run.id not in inserted:  # another engine, in this moment: its commit holds
                    row = (await conn.fetch(_SQL["look"], ns, [new.run.id]))[0]
                    done[new.run.id] = _seen(new, row)
                    continue
                if new.fork is not None:
                    await self._fork(conn, new.run.id, new.fork)
                if new.start is not None:
                    await self._begin(conn, new.run.id, new.start)
                done[new.run.id] = outcome = self._recorded(new, now, now)
                if (cancel := cancels.get(new.run.id)) is not None:
                    happening = Cancel(cancel["actor"], cancel["reason"])
                    end = await commit.apply_one(conn, self.engine, new.run.id, happening)
                    more.append(
                        (end.outbox, [(new.run.id, end.outcome.run.n)] if end.outcome.run else [])
                    )
                    outcome.record = end.outcome.run
                    outcome.events += end.outcome.events
                    outcome.ended = True
        return [done[new.run.id] for new in items], found, more

    async def _keys(
        self,
        conn: Connection,
        ns: str,
        fresh: list[NewRun],
        now: datetime,
        done: dict[str, EnqueueOutcome],
    ) -> list[NewRun]:
        """Those that hold their key now, or have none; the others get their outcome."""
        winners: dict[tuple[str, str, str], NewRun] = {}
        losers = [
            new for new in fresh if new.run.key and winners.setdefault(key_of(new), new) is not new
        ]
        asked = [new for new in fresh if new.run.key and winners[key_of(new)] is new]
        rest = [new for new in fresh if not new.run.key]
        if not asked:
            return rest
        asked.sort(key=key_of)
        taken = {
            tuple(row)
            for row in await conn.fetch(
                _SQL["take_keys"],
                ns,
                [n.run.task for n in asked],
                [n.key_scope for n in asked],
                [n.run.key for n in asked],
                [n.run.id for n in asked],
                [n.payload_hash for n in asked],
                [n.key_until or now for n in asked],
                [n.queued_at or now for n in asked],
            )
        }
        holders: dict[tuple[str, str, str], tuple[str, str, bool]] = {
            key_of(n): (n.run.id, n.payload_hash, False) for n in asked if key_of(n) in taken
        }
        others = [n for n in asked if key_of(n) not in taken]
        if others:
            for row in await conn.fetch(
                _SQL["key_holders"],
                ns,
                [n.run.task for n in others],
                [n.key_scope for n in others],
                [n.run.key for n in others],
            ):
                holders[row[0], row[1], row[2]] = (row[3], row[4], row[5])
        aliases: list[tuple[str, str]] = []
        for new in [*others, *losers]:
            winner, held, ended = holders[key_of(new)]
            done[new.run.id] = duplicate(new, winner, held, ended)
            out = done[new.run.id]
            if out.outcome == "duplicate":
                aliases.append((new.run.id, winner))
            else:
                await conn.execute(_SQL["reject"], ns, new.run.id, out.code, out.reason)
        if aliases:
            await conn.execute(_SQL["alias"], ns, [a for a, _ in aliases], [w for _, w in aliases])
        return [*rest, *(n for n in asked if key_of(n) in taken)]

    async def _fork(self, conn: Connection, run: str, point: ForkPoint) -> None:
        # The insert has written the commonest first event; nobody sees it before this commit.
        await conn.execute(_SQL["fork_event"], run, encode(point.data))
        if point.marks:
            await conn.execute(
                _SQL["fork_marks"], point.source, run, list(point.marks), point.number
            )
        if point.number:
            state = point.state
            await conn.execute(
                _SQL["fork_checkpoints"],
                point.source,
                run,
                point.number,
                state is not None,
                "" if state is None else state.sha256,
                0 if state is None else state.size,
                None if state is None else rows.pack(state.ref),
                b"" if state is None or state.ref is not None else state.body,
            )

    async def _begin(self, conn: Connection, run: str, start: Start) -> None:
        await conn.execute(_SQL["fork_event"], run, encode(start.data))
        if marks := start.marks:
            records = [m.record for m in marks]
            await conn.execute(
                _SQL["given_marks"],
                run,
                [r.key for r in records],
                [r.kind for r in records],
                [r.fn for r in records],
                [m.token for m in marks],
                [r.due_at for r in records],
                [m.size for m in marks],
                [m.after for m in marks],
                [r.resolved for r in records],
                [rows.pack(r.ref) for r in records],
                [rows.pack(r.error) for r in records],
                [bytes(r.value) for r in records],
            )
        if (point := start.point) is not None:
            state = point.state
            await conn.execute(
                _SQL["given_checkpoint"],
                run,
                point.number,
                point.name,
                state.sha256,
                state.size,
                point.schema,
                rows.pack(state.ref),
                b"" if state.ref is not None else state.body,
            )

    def _values(self, new: NewRun) -> tuple[Any, ...]:
        """What `one` takes: the row of `_columns` of a run that is not delayed."""
        run = new.run
        return (
            run.id, run.task, run.queue, run.created_at, run.ttl_at, run.deadline_at,
            self._epoch(run), run.priority, run.shared, run.keep_key, run.limit_key, run.version,
            run.parent, run.root or run.id, run.origin, run.key, new.key_scope, run.reply,
            run.trace, run.tags, new.payload_hash, new.schema_hash, new.payload,
            rows.pack(new.payload_ref),
        )  # fmt: skip

    def _epoch(self, run: Run) -> int:
        """The epoch of a new run: above what a lost commit may have given to it (DECISIONS G4)."""
        floor = self.db.floor
        return floor.epoch if run.id < floor.before else 0

    def _columns(
        self, items: list[NewRun], give: list[bool], now: datetime | None, cancelled: bool
    ) -> list[list[Any]]:
        runs = [new.run for new in items]
        due = [
            r.due_at if r.due_at is not None and now is not None and r.due_at > now else None
            for r in runs
        ]
        lean, same = rows.lean, rows.same
        return [
            [r.id for r in runs],
            same([r.task for r in runs]),
            lean(give, False),
            same([r.queue for r in runs]),
            same([r.created_at for r in runs]),
            lean(due),
            lean([r.ttl_at for r in runs]),
            lean([r.deadline_at for r in runs]),
            lean([r.shared for r in runs], False),
            lean([r.priority for r in runs], 0),
            lean([r.limit_key for r in runs], ""),
            lean([r.version for r in runs], ""),
            lean([r.parent for r in runs], ""),
            lean(["" if r.root == r.id else r.root for r in runs], ""),
            lean([r.origin for r in runs], ""),
            lean([r.key for r in runs], ""),
            lean([new.key_scope for new in items], ""),
            lean([r.keep_key for r in runs], False),
            same([r.reply for r in runs]),
            lean([r.trace for r in runs], ""),
            lean([msgspec.json.encode(r.tags).decode() if r.tags else "" for r in runs], ""),
            [new.payload_hash for new in items],
            same([new.schema_hash for new in items]),
            [new.payload for new in items],
            lean([rows.pack(new.payload_ref) for new in items]),
            lean([self._epoch(r) for r in runs], 0),
            lean([None if d is None else encode({"due_at": d}) for d in due]),
            lean([cancelled] * len(items), False),
        ]

    def _recorded(self, new: NewRun, at: datetime, now: datetime | None) -> EnqueueOutcome:
        run = new.run
        if not run.root or self._epoch(run):
            run = msgspec.structs.replace(run, root=run.root or run.id, epoch=self._epoch(run))
        t = lifecycle.create(run, now or at, run.due_at if now is not None else None, new.forked)
        for event in t.events:
            event.at = at
        return EnqueueOutcome(run.id, "recorded", record=t.run, events=t.events)

    def _track(self, found: Sequence[Any]) -> None:
        if found:
            self.outbox.add(found[0][3], [(row[0], 1) for row in found])

    async def _look(
        self,
        fetch: Any,
        ns: str,
        missing: list[NewRun],
    ) -> dict[str, EnqueueOutcome]:
        known = {
            row["id"]: row for row in await fetch(_SQL["look"], ns, [new.run.id for new in missing])
        }
        return {
            new.run.id: removed(new)
            if known[new.run.id]["removed"]
            else _seen(new, known[new.run.id])
            for new in missing
            if known[new.run.id]["state"] is not None or known[new.run.id]["removed"]
        }

    async def reject(self, ns: str, run: str, code: str, reason: str) -> None:
        """Keep the refusal for 7 days."""
        await self.db.fetch(_SQL["reject"], ns, run, code, reason[:2000])

    async def ends(
        self,
        ns: str,
        runs: Sequence[str],
    ) -> ResultsAnswer:
        """Which have ended, and what of the others; an alias's winner is looked up as well."""
        found = await self.db.fetch(_SQL["ends"], ns, list(runs))
        aliases = {row["id"]: row["winner"] for row in found if row["winner"]}
        if aliases:
            found += await self.db.fetch(_SQL["ends"], ns, sorted(set(aliases.values())))
        ended: dict[str, Ended] = {}
        others: dict[str, str] = {}
        refused: dict[str, Recorded] = {}
        for row in found:
            if row["ended"]:
                status = rows.STATES[row["state"]].status
                ended[row["id"]] = Ended(
                    row["id"],
                    status,
                    Raw(row["body"]) if row["body"] else NOTHING,
                    rows.ref_of(row["ref"]),
                    rows.error_of(row["error"]),
                )
            elif row["state"] is not None:
                others[row["id"]] = rows.STATES[row["state"]].status
            elif row["code"]:
                others[row["id"]] = "rejected"
                refused[row["id"]] = Recorded(
                    row["id"], "rejected", code=row["code"], reason=row["reason"]
                )
            elif not row["winner"]:
                others[row["id"]] = "unknown"
        return ResultsAnswer(list(ended.values()), others, aliases, refused)


def _seen(new: NewRun, row: Any) -> EnqueueOutcome:
    return seen(new, row["ns"], row["hash"], rows.STATES[row["state"]] in TERMINAL)


def _poison(item: tuple[int, NewRun], why: str) -> EnqueueOutcome:
    return EnqueueOutcome(item[1].run.id, "rejected", code="rejected", reason=why)
