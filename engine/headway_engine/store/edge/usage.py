"""Edge store: what runs have used, and what persons gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.wire.runs import UsageAsk, UsageRow
from headway_engine.store.edge.dialect import values
from headway_engine.store.edge.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEYS = {
    "task": "task", "model": "model", "run": "run",
    "day": "strftime('%Y-%m-%d', at / 1000000, 'unixepoch')",
}  # fmt: skip


class Usage(Reading):
    """See the port."""

    async def spent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[int, int, float]]:
        """What each run has used, if anything."""
        await self._fresh(*runs)
        rows = self.db.execute(
            "SELECT run, sum(tokens_in), sum(tokens_out), sum(cost_usd) FROM usage"
            " WHERE run IN (SELECT value FROM json_each(?2)) AND ns = ?1 GROUP BY run",
            values([ns, list(runs)]),
        )
        return {run: (came, went, cost) for run, came, went, cost in rows}

    async def budgets(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[float, int]]:
        """What persons gave to these runs, if anything."""
        await self._fresh(*runs)
        rows = self.db.execute(
            "SELECT id, budget_usd, budget_tokens FROM runs"
            " WHERE id IN (SELECT value FROM json_each(?2)) AND ns = ?1"
            " AND (budget_usd > 0 OR budget_tokens > 0)",
            values([ns, list(runs)]),
        )
        return {run: (usd, tokens) for run, usd, tokens in rows}

    async def usage(self, ns: str, ask: UsageAsk) -> list[UsageRow]:
        """Sums over a window, the dearest first."""
        await self._fresh()
        rows = self.db.execute(
            f"SELECT {_KEYS[ask.by]} AS key, count(DISTINCT run), count(DISTINCT run || epoch),"
            " sum(tokens_in), sum(tokens_out), sum(cost_usd) FROM usage"
            " WHERE ns = ?1 AND (?2 = '' OR task = ?2) AND (?3 = '' OR model = ?3)"
            " AND (?4 = '' OR run = ?4) AND (?5 IS NULL OR at >= ?5) AND (?6 IS NULL OR at < ?6)"
            " GROUP BY key ORDER BY sum(cost_usd) DESC, sum(tokens_in + tokens_out) DESC, key"
            " LIMIT ?7",
            values([ns, ask.task, ask.model, ask.run, ask.since, ask.until, ask.n]),
        )
        return [UsageRow(*row) for row in rows]
