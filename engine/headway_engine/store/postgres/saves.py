"""Saves of attempts: one conditional statement per kind and batch, no decide (DECISIONS A1).

A batch is split into rounds so that a round holds each (run, key) once and keeps the order of a
run's checkpoints and marks; nearly always there is one round. What a statement did not take gets a
second look: a repeat is ok, everything else says why.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headway.states import OPEN, RunState
from headway.wire import encode
from headway.wire.events import Event
from headway.wire.saves import AnySave, Save, SaveCheckpoint, SaveMark, SaveUsage
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.db import Poison, bisect
from headway_engine.store.postgres.usage import Usage
from headway_engine.store.records import SaveDone
from headway_engine.store.saving import (
    by_namespace,
    checkpoint_data,
    look,
    mark_data,
    mark_event,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_SQL = statements.load("saves")

PRUNE_EVERY = 16
"""Old checkpoints go when a run's number is a multiple of this."""


class Saves(Usage, Part):
    """See the port."""

    async def save(self, saves: Sequence[AnySave], ns: Sequence[str] = ()) -> list[SaveDone]:
        """Checkpoints, marks and usage; outcomes in order."""
        kept = [s for s in saves if not isinstance(s, SaveUsage)]
        if len(kept) == len(saves):
            return await self._save(kept, ns)
        who = ns or [""] * len(saves)
        pairs = list(zip(who, saves, strict=True))
        owners = [n for n, s in pairs if not isinstance(s, SaveUsage)]
        used = iter(await self._used([(n, s) for n, s in pairs if isinstance(s, SaveUsage)]))
        done = iter(await self._save(kept, owners) if kept else ())
        return [next(used if isinstance(s, SaveUsage) else done) for s in saves]

    async def _save(self, saves: Sequence[Save], ns: Sequence[str] = ()) -> list[SaveDone]:
        if (parts := by_namespace(saves, ns)) is not None:
            apart: dict[int, SaveDone] = {}
            for places in parts:
                answers = await self._save([saves[i] for i in places], [ns[i] for i in places])
                apart.update(zip(places, answers, strict=True))
            return [apart[i] for i in range(len(saves))]
        who = ns or [""] * len(saves)
        done: list[SaveDone | None] = [None] * len(saves)
        for checkpoints, marks in split(saves):
            if checkpoints:
                found = await bisect(
                    [(who[i], s) for i, s in checkpoints], self._checkpoints, _reject
                )
                for (i, _), outcome in zip(checkpoints, found, strict=True):
                    done[i] = outcome
            if marks:
                found = await bisect([(who[i], s) for i, s in marks], self._marks, _reject)
                for (i, _), outcome in zip(marks, found, strict=True):
                    done[i] = outcome
        # What is left is a second time the same number and hash in this batch.
        first = {
            (s.run, s.epoch, s.number): done[i]
            for i, s in enumerate(saves)
            if isinstance(s, SaveCheckpoint) and done[i] is not None
        }
        out: list[SaveDone] = []
        for s, outcome in zip(saves, done, strict=True):
            if outcome is None:
                assert isinstance(s, SaveCheckpoint)
                twin = first[s.run, s.epoch, s.number]
                assert twin is not None
                outcome = SaveDone(twin.outcome, twin.n, twin.message, twin.ns, twin.task)
            out.append(outcome)
        return out

    async def _checkpoints(self, owned: Sequence[tuple[str, SaveCheckpoint]]) -> list[SaveDone]:
        saves = [s for _, s in owned]
        datas = [checkpoint_data(s) for s in saves]
        taken = await self._send(
            "checkpoint",
            "checkpoints",
            [
                [s.run for s in saves],
                [s.epoch for s in saves],
                [s.number for s in saves],
                [s.name for s in saves],
                [s.sha256 for s in saves],
                [s.size for s in saves],
                [bytes(s.state) for s in saves],
                [rows.pack(s.ref) for s in saves],
                [s.schema for s in saves],
                [s.keep for s in saves],
                [encode(d) for d in datas],
                [ns for ns, _ in owned],
            ],
        )
        missing = [(ns, s) for ns, s in owned if (s.run, s.epoch, s.number) not in taken]
        looked: dict[Any, Any] = {}
        if missing:
            for row in await self.db.fetch(
                _SQL["look_checkpoints"],
                [s.run for _, s in missing],
                [s.number for _, s in missing],
                [ns for ns, _ in missing],
            ):
                looked[row["run"], row["item"]] = row
        old = sorted(
            {s.run for s in saves if s.number % PRUNE_EVERY == 0} - {s.run for _, s in missing}
        )
        if old:
            await self.db.fetch(_SQL["prune"], old)
        out: list[SaveDone] = []
        for s, data in zip(saves, datas, strict=True):
            row = taken.get((s.run, s.epoch, s.number))
            if row is not None:
                out.append(_done(row, "checkpoint", data))
                continue
            row = looked[s.run, s.number]
            outcome, message = refusal(row, s.epoch) or look_checkpoint(row, s)
            last = row["ck"] if outcome == "gap" else 0
            out.append(SaveDone(outcome, last, message, row["ns"] or "", row["task"] or ""))
        return out

    async def _marks(self, owned: Sequence[tuple[str, SaveMark]]) -> list[SaveDone]:
        saves = [s for _, s in owned]
        datas = [mark_data(s) for s in saves]
        taken = await self._send(
            "mark",
            "marks",
            [
                [s.run for s in saves],
                [s.epoch for s in saves],
                [s.key for s in saves],
                [s.kind for s in saves],
                [s.fn for s in saves],
                [s.status for s in saves],
                [s.token for s in saves],
                [bytes(s.value) for s in saves],
                [rows.pack(s.ref) for s in saves],
                [rows.pack(s.error) for s in saves],
                [s.size for s in saves],
                [s.seconds if s.status == "open" else None for s in saves],
                [s.after for s in saves],
                [mark_event(s) for s in saves],
                [encode(d) for d in datas],
                [ns for ns, _ in owned],
            ],
        )
        missing = [(ns, s) for ns, s in owned if (s.run, s.epoch, s.key) not in taken]
        looked: dict[Any, Any] = {}
        if missing:
            for row in await self.db.fetch(
                _SQL["look_marks"],
                [s.run for _, s in missing],
                [s.key for _, s in missing],
                [ns for ns, _ in missing],
            ):
                looked[row["run"], row["item"]] = row
        out: list[SaveDone] = []
        for s, data in zip(saves, datas, strict=True):
            row = taken.get((s.run, s.epoch, s.key))
            if row is not None:
                out.append(_done(row, mark_event(s), data))
                continue
            row = looked[s.run, s.key]
            refused = refusal(row, s.epoch)
            outcome, message = refused or look(
                s,
                row["kind"],
                row["status"],
                row["saved_epoch"] or 0,
                row["state"] == RunState.CANCELLING.value,
            )
            out.append(SaveDone(outcome, 0, message, row["ns"] or "", row["task"] or ""))
        return out

    async def _send(self, one: str, many: str, columns: list[list[Any]]) -> dict[Any, Any]:
        """What was taken, by (run, epoch, number or key); one save alone goes the short way."""
        if self.short and len(columns[0]) == 1:
            with suppress(Poison):
                if taken := await self._execute(one, [column[0] for column in columns]):
                    return taken
        return await self._execute(many, columns)

    async def _execute(self, name: str, arguments: list[Any]) -> dict[Any, Any]:
        spent = self.outbox.take()
        try:
            found = await self.db.fetch(_SQL[name], self.engine, spent, *arguments)
        except BaseException:
            self.outbox.give_back(spent)
            raise
        if found:
            last: dict[str, int] = {}
            for row in found:
                last[row[0]] = max(last.get(row[0], 0), row[3])
                self.recent.forget(row[0])
            self.outbox.add(found[0]["outbox"], last.items())
        return {(row[0], row[1], row[2]): row for row in found}


def refusal(row: Any, epoch: int) -> tuple[str, str] | None:
    """Stale, if the run is not that attempt's any more."""
    if row["state"] is None:
        return "stale_epoch", "no such run"
    if row["epoch"] != epoch:
        return "stale_epoch", "a newer attempt exists, or the run has moved on"
    return None


def look_checkpoint(row: Any, save: SaveCheckpoint) -> tuple[str, str]:
    """The epoch is right and the number did not fit: a repeat, other content, or a gap."""
    if row["sha256"] is not None:
        if row["sha256"] == save.sha256 and row["saved_epoch"] == save.epoch:
            return "ok", ""
        return "conflict", f"checkpoint {save.number} is saved already, with another state"
    if rows.STATES[row["state"]] not in OPEN:
        return "stale_epoch", "the attempt has ended"
    return "gap", f"the last checkpoint is {row['ck']}, this one has number {save.number}"


def _done(row: Any, kind: str, data: dict[str, Any]) -> SaveDone:
    agent = f"agent:{row['agent']}"
    events = [Event(row["n"], row["now"], kind, row["epoch"], actor=agent, data=data)]
    if row["starts"]:
        events.insert(
            0,
            Event(
                row["n"] - 1,
                row["now"],
                "started",
                row["epoch"],
                "STARTING",
                "RUNNING",
                agent,
                {"agent": row["agent"]},
            ),
        )
    return SaveDone("ok", row["n"], "", row["ns"], row["task"], events)


def _reject(owned: tuple[str, Save], why: str) -> SaveDone:
    return SaveDone("rejected", 0, why)
