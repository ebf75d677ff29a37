"""Claims: an agent takes runs; everything that the attempts need comes with the answer (B2, D1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.wire import NOTHING, encode
from headway_engine import lifecycle
from headway_engine.happenings import Claim
from headway_engine.store import ClaimAnswer
from headway_engine.store.claiming import MARKS_PAGE, lacks_image, page, refusal, turn_away
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.commit import Commits
from headway_engine.store.records import Claimed, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.rpc import MarkRecord
    from headway_engine.happenings import Happening
    from headway_engine.store.postgres.specs import Known

_SQL = statements.load("claim")

ROUNDS = 3
"""Rounds for runs that changed between load and write."""


class Claims(Commits, Part):
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
        answer = ClaimAnswer()
        todo = list(dict.fromkeys(runs))
        for turn in range(ROUNDS):
            todo = await self._round(ns, agent, session, nonce, todo, images, answer)
            if not todo or answer.session_over:
                break
            if turn == ROUNDS - 1:
                answer.refused += [(run, "it changes too often; try again") for run in todo]
        return answer

    async def _round(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        todo: list[str],
        images: frozenset[str] | None,
        answer: ClaimAnswer,
    ) -> list[str]:
        """One load and write; the runs that changed in between."""
        take: list[tuple[Any, Run, Transition, Known]] = []
        todo, again = await self._fresh(ns, agent, session, nonce, todo, images, take)
        loaded = await self.db.fetch(_SQL["load"], ns, todo) if todo else []
        found = {row["id"]: row for row in loaded}
        repeats: list[tuple[Any, Run, Known]] = []
        drop: list[str] = []
        missing: list[tuple[str, Happening]] = []
        budget: dict[tuple[str, str], int] = {}
        for run_id in todo:
            row = found.get(run_id)
            if row is None:
                answer.refused.append((run_id, "no such run"))
                continue
            run = rows.run_of(row)
            known = await self.specs.get(ns, run.task, run.version)
            if known is not None:
                run.policy, run.timeout = known.policy, known.spec.timeout
            version = "" if known is None else known.version
            happening = Claim(agent, session, nonce, version, row["number"] or 0)
            t = lifecycle.decide(run, happening, row["now"])
            if t.outcome == "already" and known is not None:
                repeats.append((row, run, known))
                continue
            info = None if known is None else known.info
            why = refusal(
                t,
                run,
                info,
                images,
                row["dispatch"] is not None,
                row["paused"],
                row["queue_free"],
                row["key_free"],
                budget,
                cancelled=row["cancelled"],
            )
            if why:
                if turn_away(answer, missing, run, why, info, images):
                    drop.append(run_id)
                continue
            assert known is not None
            take.append((row, run, t, known))
        if not take and not drop and not again:
            standing = await self._standing(ns, agent, session)
            if standing != "live":
                answer.session_over, answer.overdue = standing == "over", standing != "over"
                return []
        written: set[str] = set()
        waited: dict[str, float] = {}
        if take or drop:
            live, written = await self._take(ns, agent, session, nonce, take, drop, waited)
            if not live:
                over = await self._standing(ns, agent, session) == "over"
                answer.session_over, answer.overdue, answer.claimed = over, not over, []
                return []
        for row, run, known in repeats:
            answer.claimed.append(await self._claimed(row, run, known, []))
        for row, _, t, known in take:
            if row["id"] in written:
                assert t.run is not None
                given = await self._claimed(row, t.run, known, t.events)
                given.waited = waited[row["id"]]
                answer.claimed.append(given)
        if missing:
            answer.outcomes += await self.commit(missing)
        return again + [row["id"] for row, _, _, _ in take if row["id"] not in written]

    async def _fresh(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        todo: list[str],
        images: frozenset[str] | None,
        take: list[tuple[Any, Run, Transition, Known]],
    ) -> tuple[list[str], list[str]]:
        """Runs that this engine has just recorded and dispatched go into `take` unread.

        The write looks whether they are as they were, in a queue that is open and has no limits.
        Returns those to load now, and those to load in the next round.
        """
        load: list[str] = []
        again: list[str] = []
        for run_id in todo:
            if (entry := self.recent.take(run_id)) is None:
                load.append(run_id)
                continue
            row, run, schema = entry
            known = await self.specs.get(ns, run.task, run.version) if run.ns == ns else None
            if known is None or lacks_image(known.info, images) or known.spec.schema_hash != schema:
                again.append(run_id)
                continue
            run.policy, run.timeout = known.policy, known.spec.timeout
            happening = Claim(agent, session, nonce, known.version)
            take.append((row, run, lifecycle.decide(run, happening, datetime.now(UTC)), known))
        return load, again

    async def _standing(self, ns: str, agent: str, session: int) -> str:
        """live, overdue (a beat may still renew it: DECISIONS B1), or over."""
        found = await self.db.fetch(_SQL["session"], ns, agent, session)
        if not found:
            return "over"
        return "live" if found[0]["valid"] else "overdue"

    async def _take(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        take: list[tuple[Any, Run, Transition, Known]],
        drop: list[str],
        waited: dict[str, float],
    ) -> tuple[bool, set[str]]:
        moved = [(row, t.run, t.events[0], known) for row, _, t, known in take if t.run is not None]
        columns: list[list[Any]] = [
            ["dispatch" not in row for row, _, _, _ in moved],
            [run.id for _, run, _, _ in moved],
            [row["n"] for row, _, _, _ in moved],
            [run.epoch for _, run, _, _ in moved],
            [run.version for _, run, _, _ in moved],
            [known.spec.timeout for _, _, _, known in moved],
            [known.spec.keep_checkpoints for _, _, _, known in moved],
            [encode(event.data) for _, _, event, _ in moved],
        ]
        one = self.short and len(moved) == 1 and not drop
        rest = [column[0] for column in columns] if one else [*columns, drop]
        spent = self.outbox.take()
        try:
            done = await self.db.fetch(
                _SQL["write_one" if one else "write"],
                self.engine, spent, ns, agent, session, nonce, *rest,
            )  # fmt: skip
        except BaseException:
            self.outbox.give_back(spent)
            raise
        since = {row["id"]: row["queued_at"] for row in done if row["id"] is not None}
        written = set(since)
        for _, run, event, _ in moved:
            if run.id in written:
                run.claimed_at = event.at = done[0]["now"]
                waited[run.id] = (done[0]["now"] - since[run.id]).total_seconds()
                self.recent.wrote(run)
        self.outbox.add(
            done[0]["outbox"], [(run.id, run.n) for _, run, _, _ in moved if run.id in written]
        )
        return bool(done[0]["live"]), written

    async def _claimed(self, row: Any, run: Run, known: Known, events: list[Any]) -> Claimed:
        marks: list[MarkRecord] = []
        more = False
        if row["marked"]:
            marks, more = await self._page(run.id, "")
        return Claimed(
            run,
            Raw(row["body"]) if row["body"] else NOTHING,
            rows.ref_of(row["body_ref"]),
            row["number"] or 0,
            row["name"] or "",
            row["schema"] or "",
            Raw(row["ck_state"]) if row["ck_state"] else NOTHING,
            rows.ref_of(row["ck_ref"]),
            marks,
            more,
            known.spec,
            known.info,
            events,
        )

    async def load_marks(
        self, ns: str, run: str, epoch: int, after: str
    ) -> tuple[list[MarkRecord], bool]:
        """A page of marks for the attempt; nothing for a stale one."""
        found = await self.db.fetch(_SQL["epoch"], run, ns)
        if not found or found[0][0] != epoch:
            return [], False
        return await self._page(run, after)

    async def _page(self, run: str, after: str) -> tuple[list[MarkRecord], bool]:
        found = await self.db.fetch(_SQL["marks"], run, after, MARKS_PAGE + 1)
        return page([rows.mark_of(row) for row in found])
