"""What runs have used: totals per attempt and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.runs import UsageAsk, UsageRow
from headway_engine.store.postgres import statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.db import bisect
from headway_engine.store.records import SaveDone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.saves import SaveUsage

_SQL = statements.load("usage")


class Usage(Part):
    """See the port."""

    async def _used(self, owned: Sequence[tuple[str, SaveUsage]]) -> list[SaveDone]:
        """Record the totals of attempts; outcomes in order."""
        return await bisect(list(owned), self._tell, _reject)

    async def _tell(self, owned: Sequence[tuple[str, SaveUsage]]) -> list[SaveDone]:
        flat = [(ns, s.run, s.epoch, u) for ns, s in owned for u in s.used]
        found = await self.db.fetch(
            _SQL["told"],
            [run for _, run, _, _ in flat],
            [epoch for _, _, epoch, _ in flat],
            [u.model for _, _, _, u in flat],
            [ns for ns, _, _, _ in flat],
            [u.tokens_in for _, _, _, u in flat],
            [u.tokens_out for _, _, _, u in flat],
            [u.cost_usd for _, _, _, u in flat],
        )
        known = {(row[0], row[1]) for row in found}
        return [
            SaveDone("ok")
            if (s.run, s.epoch) in known or not s.used
            else SaveDone("stale_epoch", 0, "no such attempt")
            for _, s in owned
        ]

    async def spent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[int, int, float]]:
        """What each run has used, if anything."""
        rows = await self.db.read(_SQL["of_runs"], list(runs), ns)
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def set_budget(self, ns: str, run: str, usd: float, tokens: int, actor: str) -> None:
        """What a person gives to a run; 0 = as before."""
        await self.db.fetch(_SQL["set_budget"], ns, run, usd, tokens, actor)

    async def budgets(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[float, int]]:
        """What persons gave to these runs, if anything."""
        rows = await self.db.fetch(_SQL["budgets"], list(runs), ns)
        return {row[0]: (row[1], row[2]) for row in rows}

    async def usage(self, ns: str, ask: UsageAsk) -> list[UsageRow]:
        """Sums over a window."""
        window = ask.since, ask.until, ask.n
        rows = await self.db.read(
            _SQL["sums"], ns, ask.by, ask.task, ask.model, *window, ask.run, ask.site
        )
        return [UsageRow(*row) for row in rows]


def _reject(owned: tuple[str, SaveUsage], why: str) -> SaveDone:
    return SaveDone("rejected", 0, why)
