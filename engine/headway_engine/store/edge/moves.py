"""Edge store: transitions, as `lifecycle` decides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_engine import lifecycle
from headway_engine.store.edge.base import EdgeBase
from headway_engine.store.edge.building import Building
from headway_engine.store.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_engine.changes.messages import Record
    from headway_engine.happenings import Told
    from headway_engine.store.edge.base import Write


class Moves(EdgeBase):
    """See the port."""

    def _building(self, record: Record) -> Building:
        return Building(self.engine, self._now(), self._load(record), record, self._mark_of)

    async def commit(self, moves: Sequence[Told]) -> list[Outcome]:
        """Decide and carry out: all that happened to one run at once is one message."""
        self._check()
        out = [Outcome("unknown", "no such run") for _ in moves]
        of: dict[str, list[int]] = {}
        for k, move in enumerate(moves):
            of.setdefault(move[0], []).append(k)

        def plan(run_id: str, record: Record | None) -> Write | None:
            if record is None or record.run is None:
                for k in of[run_id]:
                    out[k] = Outcome("unknown", "no such run")
                return None
            building = self._building(record)
            for k in of[run_id]:
                move = moves[k]
                if len(move) > 2 and move[2] and move[2] != record.ns:
                    out[k] = Outcome("unknown", "no such run")
                    continue
                t = lifecycle.decide(building.run, move[1], building.change.at)
                building.take(t)
                out[k] = Outcome(t.outcome, t.message, building.run, t.events, t.end, t.stop)
            return None if building.empty else building.done()

        for run_id, why in (await self._change(of, plan)).items():
            for k in of[run_id]:
                out[k] = Outcome("rejected", why)
        return out
