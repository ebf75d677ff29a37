"""Claims: an agent takes runs; everything that the attempts need comes with the answer (B2, D1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.states import RunState
from headway.wire import NOTHING, encode
from headway_engine import lifecycle
from headway_engine.happenings import Claim, VersionMissing
from headway_engine.store import ClaimAnswer
from headway_engine.store.claiming import MARKS_PAGE, page, refusal
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.commit import Commits
from headway_engine.store.records import Claimed, Run, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.rpc import MarkRecord
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
        found = {row["id"]: row for row in await self.db.fetch(_SQL["load"], ns, todo)}
        take: list[tuple[Any, Run, Transition, Known]] = []
        repeats: list[tuple[Any, Run, Known]] = []
        drop: list[str] = []
        missing: list[tuple[str, str]] = []
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
            happening = Claim(agent, session, nonce, "" if known is None else known.version)
            t = lifecycle.decide(run, happening, row["now"])
            if t.outcome == "already" and known is not None:
                repeats.append((row, run, known))
                continue
            why = (
                t.message
                if t.run is None
                else refusal(
                    run,
                    None if known is None else known.info,
                    images,
                    row["dispatch"] is not None,
                    row["paused"],
                    row["queue_free"],
                    row["key_free"],
                    budget,
                )
            )
            if why:
                answer.refused.append((run_id, why))
                if run.state is RunState.QUEUED:
                    drop.append(run_id)
                    if known is None:
                        missing.append((run_id, run.version))
                continue
            assert known is not None
            take.append((row, run, t, known))
        if not take and not drop and not await self._live(ns, agent, session):
            answer.session_over = True
            return []
        written: set[str] = set()
        if take or drop:
            live, written = await self._take(ns, agent, session, nonce, take, drop)
            if not live:
                answer.session_over, answer.claimed = True, []
                return []
        for row, run, known in repeats:
            answer.claimed.append(await self._claimed(row, run, known, []))
        for row, _, t, known in take:
            if row["id"] in written:
                assert t.run is not None
                answer.claimed.append(await self._claimed(row, t.run, known, t.events))
        if missing:
            answer.outcomes += await self.commit(
                [(run, VersionMissing(version)) for run, version in missing]
            )
        return [row["id"] for row, _, _, _ in take if row["id"] not in written]

    async def _live(self, ns: str, agent: str, session: int) -> bool:
        return bool((await self.db.fetch(_SQL["session"], ns, agent, session))[0][0])

    async def _take(
        self,
        ns: str,
        agent: str,
        session: int,
        nonce: str,
        take: list[tuple[Any, Run, Transition, Known]],
        drop: list[str],
    ) -> tuple[bool, set[str]]:
        moved = [(row, t.run, t.events[0], known) for row, _, t, known in take if t.run is not None]
        now = moved[0][2].at if moved else await self.now()
        spent = self.outbox.take()
        try:
            done = await self.db.fetch(
                _SQL["write"],
                self.engine,
                spent,
                ns,
                agent,
                session,
                nonce,
                now,
                [run.id for _, run, _, _ in moved],
                [row["n"] for row, _, _, _ in moved],
                [run.epoch for _, run, _, _ in moved],
                [run.version for _, run, _, _ in moved],
                [known.spec.timeout for _, _, _, known in moved],
                [known.spec.keep_checkpoints for _, _, _, known in moved],
                [encode(event.data) for _, _, event, _ in moved],
                drop,
            )
        except BaseException:
            self.outbox.give_back(spent)
            raise
        written = {row["id"] for row in done if row["id"] is not None}
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
            tuple(row["tags"]),
            known.spec,
            known.info,
            events,
        )

    async def load_marks(self, run: str, epoch: int, after: str) -> tuple[list[MarkRecord], bool]:
        """A page of marks for the attempt; nothing for a stale one."""
        found = await self.db.fetch(_SQL["epoch"], run)
        if not found or found[0][0] != epoch:
            return [], False
        return await self._page(run, after)

    async def _page(self, run: str, after: str) -> tuple[list[MarkRecord], bool]:
        found = await self.db.fetch(_SQL["marks"], run, after, MARKS_PAGE + 1)
        return page([rows.mark_of(row) for row in found])
