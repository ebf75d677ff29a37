"""Edge store: checkpoints, marks and usage. One message holds what arrived together for a run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from headway import subjects
from headway.states import OPEN, RunState
from headway.wire import NOTHING
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway.wire.saves import SaveCheckpoint, SaveMark, SaveUsage
from headway_engine.changes.messages import Body, CheckpointPut, MarkPut, UsagePut
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.moves import Moves
from headway_engine.store.records import SaveDone
from headway_engine.store.saving import checkpoint_data, look, mark_data, mark_event, may_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.saves import AnySave
    from headway_engine.changes.messages import Record
    from headway_engine.store.edge.building import Building

BATCH_BYTES = 512 * 1024
"""Of bodies of one run in one message; what is more follows in the next."""


class Saving(Moves):
    """See the port."""

    async def save(self, saves: Sequence[AnySave], ns: Sequence[str] = ()) -> list[SaveDone]:
        """Checkpoints, marks and usage."""
        self._check()
        who = ns or [""] * len(saves)
        out = [SaveDone("rejected") for _ in saves]
        for turn in _turns(saves):
            await self._save_turn(saves, who, turn, out)
        return out

    async def _save_turn(
        self,
        saves: Sequence[AnySave],
        who: Sequence[str],
        turn: dict[str, list[int]],
        out: list[SaveDone],
    ) -> None:
        def plan(run_id: str, record: Record | None) -> Write | None:
            building: Building | None = None
            if record is not None and record.run is not None:
                building = self._building(record)
            for k in turn[run_id]:
                save = saves[k]
                if building is None or (who[k] and who[k] != building.run.ns):
                    word = "no such attempt" if isinstance(save, SaveUsage) else "no such run"
                    out[k] = SaveDone("stale_epoch", 0, word)
                elif isinstance(save, SaveUsage):
                    out[k] = self._used(building, save)
                else:
                    out[k] = self._save(building, record, save)
            if building is None or building.empty:
                return None
            return building.done(subjects.EV if building.events else subjects.SET)

        for run_id, why in (await self._change(turn, plan)).items():
            if len(turn[run_id]) == 1:
                out[turn[run_id][0]] = SaveDone("rejected", 0, why)
                continue
            for k in turn[run_id]:  # one of them spoils the others' message: each alone
                await self._save_turn(saves, who, {run_id: [k]}, out)

    def _save(
        self, building: Building, record: Record | None, save: SaveCheckpoint | SaveMark
    ) -> SaveDone:
        assert record is not None
        run = building.run
        if run.epoch != save.epoch:
            why = "a newer attempt exists, or the run has moved on"
            return SaveDone("stale_epoch", 0, why, run.ns, run.task)
        if isinstance(save, SaveCheckpoint):
            return self._checkpoint(building, save, record.keep)
        return self._mark(building, save)

    def _checkpoint(self, b: Building, save: SaveCheckpoint, keep: int) -> SaveDone:
        run = b.run
        is_open = run.state in OPEN
        if is_open and save.number == run.ck + 1:
            b.checkpoints[save.number] = CheckpointPut(
                save.number, save.name, save.sha256, save.size, save.epoch,
                save.state or NOTHING, save.ref, save.schema, save.keep,
            )  # fmt: skip
            done = self._event(b, "checkpoint", checkpoint_data(save), save.number)
            if save.number % 16 == 0:
                b.change.dropped += self._old(b, save.number - keep)
            return done
        have = self._saved(b, save.number)
        if have is not None:
            if have == (save.sha256, save.epoch):
                return SaveDone("ok", 0, "", run.ns, run.task)
            why = f"checkpoint {save.number} is saved already, with another state"
            return SaveDone("conflict", 0, why, run.ns, run.task)
        if not is_open:
            return SaveDone("stale_epoch", 0, "the attempt has ended", run.ns, run.task)
        why = f"the last checkpoint is {run.ck}, this one has number {save.number}"
        return SaveDone("gap", run.ck, why, run.ns, run.task)

    def _saved(self, b: Building, number: int) -> tuple[str, int] | None:
        if number in b.checkpoints:
            put = b.checkpoints[number]
            return put.sha256, put.epoch
        return self.db.execute(
            "SELECT sha256, epoch FROM checkpoints WHERE run = ? AND number = ?",
            (b.run.id, number),
        ).fetchone()

    def _old(self, b: Building, upto: int) -> list[int]:
        """Checkpoints that retention drops: all but the first, the last and those kept by name."""
        rows = self.db.execute(
            "SELECT number FROM checkpoints WHERE run = ? AND number > 1 AND number <= ?"
            " AND keep = 0 ORDER BY number",
            (b.run.id, upto),
        )
        old = {n for (n,) in rows}
        old |= {n for n, c in b.checkpoints.items() if 1 < n <= upto and not c.keep}
        return sorted(old - set(b.change.dropped))

    def _mark(self, b: Building, save: SaveMark) -> SaveDone:
        run = b.run
        found = b.mark(save.key)
        old = None if found is None else found[0]
        cancelling, is_open = run.state is RunState.CANCELLING, run.state in OPEN
        legal = old is None or may_write(save, old.kind, old.status, old.epoch)
        if not is_open or not legal or (cancelling and save.status == "started"):
            outcome, message = look(
                save,
                None if old is None else old.kind,
                "" if old is None else old.status,
                0 if old is None else old.epoch,
                cancelling,
            )
            return SaveDone(outcome, 0, message, run.ns, run.task)
        due = None if old is None else old.due_at
        if save.status == "open":
            due = b.change.at + timedelta(seconds=save.seconds)
        record = MarkRecord(
            save.key, save.kind, save.fn, save.status, save.epoch, save.value or NOTHING,
            save.ref, save.error, due,
        )  # fmt: skip
        token = save.token or ("" if found is None else found[1])
        after = save.after
        if found is not None and found[0].epoch == save.epoch:
            after = found[2]
        b.put_mark(MarkPut(record, token, save.size, after))
        return self._event(b, mark_event(save), mark_data(save))

    def _event(self, b: Building, kind: str, data: dict[str, Any], ck: int = 0) -> SaveDone:
        """The event of a save; STARTING implies started."""
        now = b.change.at
        run = msgspec.structs.replace(b.run)
        agent = f"agent:{run.agent}"
        events: list[Event] = []
        if run.state is RunState.STARTING:
            run.n += 1
            run.state, run.ttl_at, run.attempt_at = RunState.RUNNING, None, now
            run.started_at = run.started_at or now
            run.unstarted, run.unstarted_agents = 0, ()
            events.append(
                Event(
                    run.n, now, "started", run.epoch, "STARTING", "RUNNING", agent,
                    {"agent": run.agent},
                )
            )  # fmt: skip
        run.n += 1
        run.ck = ck or run.ck
        events.append(Event(run.n, now, kind, run.epoch, actor=agent, data=data))
        b.saved(run, events)
        return SaveDone("ok", run.n, "", run.ns, run.task, events)

    def _used(self, b: Building, save: SaveUsage) -> SaveDone:
        """Totals of an attempt, which only grow; what says nothing new is not written."""
        run = b.run
        if save.epoch > run.epoch:
            return SaveDone("stale_epoch", 0, "no such attempt")
        booked = {(u.epoch, u.model): u for u in b.change.usage}
        for u in save.used:
            known = booked.get((save.epoch, u.model))
            old: tuple[int, int, float] | None = (
                (known.tokens_in, known.tokens_out, known.cost_usd)
                if known is not None
                else self.db.execute(
                    "SELECT tokens_in, tokens_out, cost_usd FROM usage"
                    " WHERE run = ? AND epoch = ? AND model = ?",
                    (run.id, save.epoch, u.model),
                ).fetchone()
            )
            a = old or (0, 0, 0.0)
            new = (
                max(a[0], u.tokens_in), max(a[1], u.tokens_out), max(a[2], u.cost_usd),
            )  # fmt: skip
            if new != old:
                booked[save.epoch, u.model] = UsagePut(save.epoch, u.model, *new)
        b.change.usage = list(booked.values())
        return SaveDone("ok")

    async def set_budget(self, ns: str, run: str, usd: float, tokens: int, actor: str) -> None:
        """What a person gives to a run; 0 = as before."""
        self._check()

        def plan(run_id: str, record: Record | None) -> Write | None:
            if record is None or record.run is None or record.ns != ns:
                return None
            old = record.budget or (0.0, 0)
            new = (usd or old[0], tokens or old[1])
            if new == record.budget:
                return None
            change = self._change_now()
            change.budget = new
            return Write(ns, Body(run_id, change, ns), subjects.SET)

        await self._change([run], plan)


def _turns(saves: Sequence[AnySave]) -> list[dict[str, list[int]]]:
    """Places in `saves` by run: what is too much for one message of a run goes to a later turn."""
    turns: list[dict[str, list[int]]] = []
    full: dict[str, tuple[int, int]] = {}
    for k, save in enumerate(saves):
        turn, size = full.get(save.run, (0, 0))
        more = 0
        if isinstance(save, SaveCheckpoint):
            more = len(bytes(save.state))
        elif isinstance(save, SaveMark):
            more = len(bytes(save.value)) + len(save.error.traceback if save.error else "")
        if size and size + more > BATCH_BYTES:
            turn, size = turn + 1, 0
        full[save.run] = (turn, size + more + 300)
        while len(turns) <= turn:
            turns.append({})
        turns[turn].setdefault(save.run, []).append(k)
    return turns
