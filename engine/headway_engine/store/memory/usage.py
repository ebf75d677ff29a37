"""Memory store: what runs have used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from headway.wire.runs import RunRow, UsageAsk, UsageRow
from headway_engine.store.memory.tables import Base, Used
from headway_engine.store.records import SaveDone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.saves import SaveUsage


class Usage(Base):
    """See the port."""

    def _used(self, ns: str, save: SaveUsage) -> SaveDone:
        """Totals of an attempt, which only grow."""
        row = self.tables.runs.get(save.run)
        if row is None or (ns and row.run.ns != ns) or save.epoch > row.run.epoch:
            return SaveDone("stale_epoch", 0, "no such attempt")
        for u in save.used:
            key = (save.run, save.epoch, u.model)
            old = self.tables.usage.get(key) or Used(row.run.ns, row.run.task, self._now())
            self.tables.usage[key] = Used(
                old.ns, old.task, self._now(), max(old.tokens_in, u.tokens_in),
                max(old.tokens_out, u.tokens_out), max(old.cost_usd, u.cost_usd),
            )  # fmt: skip
        return SaveDone("ok")

    def _priced(self, row: RunRow) -> RunRow:
        """The row with what its run has used, for queries that ask for that."""
        used = [u for (run, _, _), u in self.tables.usage.items() if run == row.run]
        if not used:
            return row
        return replace(
            row,
            tokens_in=sum(u.tokens_in for u in used),
            tokens_out=sum(u.tokens_out for u in used),
            cost_usd=sum(u.cost_usd for u in used),
        )

    async def spent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[int, int, float]]:
        """What each run has used, if anything."""
        self._check()
        found: dict[str, tuple[int, int, float]] = {}
        for (run, _, _), u in self.tables.usage.items():
            if run in runs and u.ns == ns:
                a, b, c = found.get(run, (0, 0, 0.0))
                found[run] = (a + u.tokens_in, b + u.tokens_out, c + u.cost_usd)
        return found

    async def set_budget(self, ns: str, run: str, usd: float, tokens: int, actor: str) -> None:
        """What a person gives to a run; 0 = as before."""
        self._check()
        row = self.tables.runs.get(run)
        if row is not None and row.run.ns == ns:
            old = self.tables.budgets.get((ns, run), (0.0, 0))
            self.tables.budgets[ns, run] = (usd or old[0], tokens or old[1])

    async def budgets(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[float, int]]:
        """What persons gave to these runs, if anything."""
        self._check()
        known = self.tables.budgets
        return {run: known[ns, run] for run in runs if (ns, run) in known}

    async def usage(self, ns: str, ask: UsageAsk) -> list[UsageRow]:
        """Sums over a window."""
        self._check()
        rows: dict[str, UsageRow] = {}
        runs: dict[str, set[str]] = {}
        attempts: dict[str, set[tuple[str, int]]] = {}
        for (run, epoch, model), u in self.tables.usage.items():
            if (
                u.ns != ns
                or (ask.task and u.task != ask.task)
                or (ask.model and model != ask.model)
                or (ask.run and run != ask.run)
                or (ask.since is not None and u.at < ask.since)
                or (ask.until is not None and u.at >= ask.until)
            ):
                continue
            by = {"task": u.task, "model": model, "run": run}
            key = by.get(ask.by) or ("" if ask.by in by else f"{u.at:%Y-%m-%d}")
            row = rows.setdefault(key, UsageRow(key))
            runs.setdefault(key, set()).add(run)
            attempts.setdefault(key, set()).add((run, epoch))
            row.runs, row.attempts = len(runs[key]), len(attempts[key])
            row.tokens_in += u.tokens_in
            row.tokens_out += u.tokens_out
            row.cost_usd += u.cost_usd
        found = sorted(
            rows.values(), key=lambda r: (-r.cost_usd, -(r.tokens_in + r.tokens_out), r.key)
        )
        return found[: ask.n]
