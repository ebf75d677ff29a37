"""What a plan of many runs has to know of each: a few statements for a thousand of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.forks import Failure
from headway.query.asked import query_of
from headway.query.evaluate import resolved
from headway.wire.replays import Source, SourcesPage
from headway.wire.runs import CheckpointRow, RunsQuery
from headway_engine.store.filtering import where
from headway_engine.store.planning import needs_of, source_of, took
from headway_engine.store.postgres import pages, rows, statements
from headway_engine.store.postgres.base import Part
from headway_engine.store.postgres.dialect import Postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.replays import Source, SourcesAsk

_SQL = statements.load("sources")
_DIALECT = Postgres()


class Sources(Part):
    """See the port."""

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """A page of runs, newest first."""
        needs = needs_of(ask.start)
        if ask.ids:
            found, following = await self.db.read(_SQL["these"], ns, list(ask.ids)), ""
        else:
            found, following = await self._asked_for(ns, ask)
        runs = [row["id"] for row in found]
        kept: dict[str, list[CheckpointRow]] = {}
        failed: dict[str, list[Failure]] = {}
        if needs.checkpoints:
            name = "last_checkpoints" if needs.last_alone else "checkpoints"
            for r in await self.db.read(_SQL[name], runs):
                kept.setdefault(r["run"], []).append(CheckpointRow(*r[1:]))
        if needs.failures:
            for r in await self.db.read(_SQL["failures"], runs):
                failed.setdefault(r["run"], []).append(Failure(r["at"], r["type"] or ""))
        once: dict[str, list[str]] = {}
        for r in await self.db.read(_SQL["once"], runs):
            once.setdefault(r["run"], []).append(r["key"])
        jobs = {r["run"]: r["job"] for r in await self.db.read(_SQL["forked"], ns, runs)}
        live = [row["id"] for row in found if row["ended_at"] is None]
        last = await self.db.read(_SQL["since"], live) if live else []
        since = {r["run"]: r["at"] for r in last}
        out: list[Source] = []
        for row in found:
            run = row["id"]
            status = rows.STATES[row["state"]].status
            marks = tuple(once.get(run, ()))
            points, errors = kept.get(run, []), failed.get(run, [])
            out.append(
                source_of(
                    run, status, ask.start, points, errors, marks, jobs.get(run, ""),
                    took(row["started_at"], row["ended_at"]), since.get(run),
                )
            )  # fmt: skip
        await self._looked(out, ask.keys)
        return SourcesPage(out, following)

    async def _looked(self, found: list[Source], keys: Sequence[str]) -> None:
        """Write into them what runs again, and what their states lack."""
        known = {source.run: source for source in found}
        runs, points = list(known), [source.checkpoint for source in found]
        for run, fn, n in await self.db.read(_SQL["again"], runs, points):
            known[run].again[fn] = n
        if keys:
            for run, key in await self.db.read(_SQL["lacks"], runs, points, list(keys)):
                known[run].lacks += (key,)

    async def _asked_for(self, ns: str, ask: SourcesAsk) -> tuple[list[Any], str]:
        """Ids and states of a page of a query, and where it goes on."""
        query = RunsQuery(query=ask.query, after=ask.after, n=ask.n)
        now = await self.now()
        asked = where(resolved(query_of(query), now), now, _DIALECT, [ns])
        scan = max(pages.SCAN, ask.n + 1)
        found = list(await self.db.read(*pages.ids(asked, query, ask.n + 1, scan)))
        if len(found) > ask.n:
            return found[: ask.n], found[ask.n - 1]["id"]
        if asked.rest and (cut := await self.db.read(*pages.last_seen(asked, query, scan))):
            return found, cut[0]["id"]
        return found, ""
