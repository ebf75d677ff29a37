"""Memory store: what a save does to a run's rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from headway.states import RunState
from headway.wire.events import Event
from headway.wire.rpc import MarkRecord
from headway_engine.store.memory.tables import Checkpoint, Mark, Row
from headway_engine.store.memory.usage import Usage
from headway_engine.store.records import SaveDone
from headway_engine.store.saving import checkpoint_data, look, mark_data, mark_event, may_write

if TYPE_CHECKING:
    from headway.wire.saves import SaveCheckpoint, SaveMark


class Saving(Usage):
    """Helpers of Intake."""

    def _checkpoint(self, row: Row, save: SaveCheckpoint, is_open: bool) -> SaveDone:
        run = row.run
        have = row.checkpoints.get(save.number)
        if is_open and save.number == run.ck + 1:
            row.checkpoints[save.number] = Checkpoint(
                save.number,
                save.name,
                save.sha256,
                save.size,
                save.epoch,
                self._now(),
                save.state,
                save.ref,
                save.schema,
                save.keep,
            )
            done = self._event(row, "checkpoint", checkpoint_data(save))
            row.run.ck = save.number
            if save.number % 16 == 0:
                for number in [
                    n
                    for n, c in row.checkpoints.items()
                    if 1 < n <= row.run.ck - row.keep and not c.keep
                ]:
                    old = row.checkpoints.pop(number)
                    if old.ref is not None:
                        self._purge(row.run.ns, row.run.id, [old.ref.key], timedelta(hours=1))
            return done
        if have is not None:
            same = have.sha256 == save.sha256 and have.epoch == save.epoch
            outcome, message = (
                ("ok", "")
                if same
                else ("conflict", f"checkpoint {save.number} is saved already, with another state")
            )
        elif not is_open:
            outcome, message = "stale_epoch", "the attempt has ended"
        else:
            outcome = "gap"
            message = f"the last checkpoint is {run.ck}, this one has number {save.number}"
        last = run.ck if outcome == "gap" else 0
        return SaveDone(outcome, last, message, run.ns, run.task)

    def _mark(self, row: Row, save: SaveMark, is_open: bool) -> SaveDone:
        run = row.run
        old = row.marks.get(save.key)
        cancelling = run.state is RunState.CANCELLING
        legal = old is None or may_write(save, old.record.kind, old.record.status, old.record.epoch)
        if not is_open or not legal or (cancelling and save.status == "started"):
            outcome, message = look(
                save,
                None if old is None else old.record.kind,
                "" if old is None else old.record.status,
                0 if old is None else old.record.epoch,
                cancelling,
            )
            return SaveDone(outcome, 0, message, run.ns, run.task)
        due = None if old is None else old.record.due_at
        if save.status == "open":
            due = self._now() + timedelta(seconds=save.seconds)
        record = MarkRecord(
            save.key,
            save.kind,
            save.fn,
            save.status,
            save.epoch,
            save.value,
            save.ref,
            save.error,
            due,
        )
        token = save.token or ("" if old is None else old.token)
        after = save.after
        if old is not None and old.record.epoch == save.epoch:
            after = old.after
        row.marks[save.key] = Mark(record, token, self._now(), save.size, after)
        return self._event(row, mark_event(save), mark_data(save))

    def _event(self, row: Row, kind: str, data: dict[str, Any]) -> SaveDone:
        """The event of a save; STARTING implies started."""
        now = self._now()
        run = row.run = msgspec.structs.replace(row.run)
        agent = f"agent:{run.agent}"
        events: list[Event] = []
        if run.state is RunState.STARTING:
            run.n += 1
            run.state, run.ttl_at, run.attempt_at = RunState.RUNNING, None, now
            run.started_at = run.started_at or now
            run.unstarted, run.unstarted_agents = 0, ()
            events.append(
                Event(
                    run.n,
                    now,
                    "started",
                    run.epoch,
                    "STARTING",
                    "RUNNING",
                    agent,
                    {"agent": run.agent},
                )
            )
        run.n += 1
        events.append(Event(run.n, now, kind, run.epoch, actor=agent, data=data))
        row.events += events
        return SaveDone("ok", run.n, "", run.ns, run.task, events)
