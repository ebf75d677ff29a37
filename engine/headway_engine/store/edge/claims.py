"""Edge store: claims.

The session of the agent is looked at before; a lease that ends in between is found by the next
`expire`, which loses whatever an older session holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from headway import subjects
from headway.states import RunState
from headway.wire import NOTHING, decoder
from headway.wire.rpc import MarkRecord
from headway_engine import lifecycle
from headway_engine.changes.messages import Body
from headway_engine.happenings import Claim, Happening
from headway_engine.store import ClaimAnswer
from headway_engine.store.claiming import MARKS_PAGE, page, refusal, turn_away
from headway_engine.store.edge.base import Write
from headway_engine.store.edge.intake import Intake
from headway_engine.store.edge.rows import ref_of
from headway_engine.store.leasing import standing
from headway_engine.store.records import Claimed, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.events import Event
    from headway.wire.rpc import VersionInfo
    from headway_engine.changes.messages import Record

_MARK = decoder(MarkRecord)
_OPEN = "state IN ('STARTING', 'RUNNING', 'CANCELLING')"


class Claims(Intake):
    """See the port."""

    async def claim(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        runs: Sequence[str],
        images: frozenset[str] | None,
    ) -> ClaimAnswer:
        """Give runs to the agent's session."""
        self._check()
        answer = ClaimAnswer()
        stands = standing(self._agent(ns, agent), session, self._now())
        if stands == "over":
            await self._fresh()
            stands = standing(self._agent(ns, agent), session, self._now())
        if stands != "live":
            answer.session_over, answer.overdue = stands == "over", stands == "overdue"
            return answer
        await self.journal.look(runs, again=False)
        if any(self._held_back(run) for run in runs):
            # Another engine may have made it, let its queue go on, or heard of a slot's end.
            await self._fresh()
        said: dict[str, _Said] = {}
        budget: dict[tuple[str, str], int] = {}
        planned: set[str] = set()

        def plan(run_id: str, record: Record | None) -> Write | None:
            if run_id in planned:
                # Another round: what was given in the one before is counted in the tables by now.
                planned.clear()
                budget.clear()
            planned.add(run_id)
            said[run_id] = told = _Said()
            if record is None or record.run is None or record.ns != ns:
                told.why = "no such run"
                return None
            claim = Claim(agent, session, nonce, "", 0)
            return self._claim(record, claim, images, budget, told)

        queues = {
            f"claim {ns} {r.run.queue}"
            for run in runs
            if (r := self.projection.record(run)) is not None and r.run is not None
        }
        async with self.locks.of(queues):
            for run_id, why in (await self._change(runs, plan)).items():
                said[run_id] = _Said(why)
        missing: list[tuple[str, Happening]] = []
        for run_id in dict.fromkeys(runs):
            told = said[run_id]
            if told.why and told.run is not None:
                turn_away(answer, missing, told.run, told.why, told.info, images)
            elif told.why:
                answer.refused.append((run_id, told.why))
            elif (claimed := self._claimed(run_id, told.events)) is not None:
                claimed.waited = told.waited
                answer.claimed.append(claimed)
            else:
                answer.refused.append((run_id, "the run was removed in this moment"))
        answer.outcomes = await self.commit(missing)
        return answer

    def _claim(
        self,
        record: Record,
        claim: Claim,
        images: frozenset[str] | None,
        budget: dict[tuple[str, str], int],
        told: _Said,
    ) -> Write | None:
        building = self._building(record)
        run, now = building.run, building.change.at
        known = self._known(run.ns, run.task, run.version)
        claim = msgspec.structs.replace(
            claim,
            version="" if known is None else known[1].version,
            checkpoint=run.ck if self._has_checkpoint(run) else 0,
        )
        t = lifecycle.decide(run, claim, now)
        if t.outcome == "already" and known is not None:
            return None
        settings = self._queue(run.ns, run.queue)
        queue_free, key_free = self._free(run)
        told.run, told.info = run, None if known is None else known[1]
        told.why = refusal(
            t, run, told.info, images, record.dispatch > 0,
            settings.paused, queue_free, key_free, budget, cancelled=record.early is not None,
        )  # fmt: skip
        if not told.why:
            assert known is not None
            building.take(t)
            building.change.timeout = known[0].timeout
            building.change.keep = known[0].keep_checkpoints
            told.events = t.events
            told.waited = (now - (record.queued_at or now)).total_seconds()
            return building.done()
        if run.state is not RunState.QUEUED or not record.dispatch:
            return None
        change = self._change_now()
        change.dispatch = "over"
        return Write(record.ns, Body(run.id, change, record.ns), subjects.SET)

    def _held_back(self, run_id: str) -> bool:
        """By what is known here there is no such run, or its queue gives it no slot now."""
        record = self.projection.record(run_id)
        if record is None or record.run is None:
            return True
        if self._queue(record.ns, record.run.queue).paused:
            return True
        return 0 in self._free(record.run)

    def _has_checkpoint(self, run: Run) -> bool:
        return run.ck > 0 and bool(
            self.db.execute(
                "SELECT 1 FROM checkpoints WHERE run = ? AND number = ?", (run.id, run.ck)
            ).fetchone()
        )

    def _free(self, run: Run) -> tuple[int, int]:
        settings = self._queue(run.ns, run.queue)
        queue_free = key_free = -1
        if self.journal.behind:  # who has the slots is not all known yet: it waits again
            return 0 if settings.limit else -1, 0 if settings.key_limit and run.limit_key else -1
        if settings.limit:
            ((count,),) = self.db.execute(
                "SELECT count(*) FROM runs INDEXED BY runs_open WHERE ns = ? AND queue = ?"
                f" AND {_OPEN}",
                (run.ns, run.queue),
            )
            queue_free = settings.limit - count
        if settings.key_limit and run.limit_key:
            ((count,),) = self.db.execute(
                "SELECT count(*) FROM runs INDEXED BY runs_open WHERE ns = ? AND queue = ?"
                " AND limit_key = ?"
                f" AND {_OPEN}",
                (run.ns, run.queue, run.limit_key),
            )
            key_free = settings.key_limit - count
        return queue_free, key_free

    def _claimed(self, run_id: str, events: list[Event]) -> Claimed | None:
        """All that the attempt needs."""
        record = self.projection.record(run_id)
        if record is None or record.run is None:
            return None
        run = self._load(record)
        known = self._known(run.ns, run.task, run.version)
        body = self.db.execute(
            "SELECT payload, payload_ref FROM bodies WHERE run = ?", (run_id,)
        ).fetchone()
        if known is None or body is None:
            return None
        ck = self.db.execute(
            "SELECT number, name, schema, state, ref FROM checkpoints WHERE run = ? AND number = ?",
            (run_id, run.ck),
        ).fetchone() or (0, "", "", b"", None)
        marks, more = self._page(run_id, "")
        return Claimed(
            run, _raw(body[0]), ref_of(body[1]), ck[0], ck[1], ck[2], _raw(ck[3]), ref_of(ck[4]),
            marks, more, known[0], known[1], events,
        )  # fmt: skip

    def _page(self, run: str, after: str) -> tuple[list[MarkRecord], bool]:
        rows = self.db.execute(
            "SELECT record FROM marks WHERE run = ? AND key > ? ORDER BY key LIMIT ?",
            (run, after, MARKS_PAGE + 1),
        )
        return page([_MARK.decode(row[0]) for row in rows])

    async def load_marks(
        self, ns: str, run: str, epoch: int, after: str
    ) -> tuple[list[MarkRecord], bool]:
        """A page of marks."""
        await self._fresh(run)
        record = self._record(run, ns)
        if record is None or record.run is None or record.run.epoch != epoch:
            return [], False
        return self._page(run, after)


class _Said:
    """What a plan said of one claim."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.run: Run | None = None
        self.info: VersionInfo | None = None
        self.events: list[Event] = []
        self.waited: float | None = None


def _raw(body: bytes) -> Raw:
    return Raw(body) if body else NOTHING
