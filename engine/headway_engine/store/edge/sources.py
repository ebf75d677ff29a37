"""Edge store: what a plan of many runs has to know of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.forks import failures_of
from headway.query.asked import query_of
from headway.states import RunState
from headway.wire import decoder
from headway.wire.events import Event
from headway.wire.replays import Source, SourcesPage
from headway.wire.runs import RunsQuery
from headway_engine.store.edge.details import Details
from headway_engine.store.edge.dialect import values
from headway_engine.store.edge.jobs import Jobs
from headway_engine.store.edge.scanning import Scan
from headway_engine.store.planning import needs_of, source_of

if TYPE_CHECKING:
    from headway.forks import Failure
    from headway.wire.replays import SourcesAsk
    from headway.wire.runs import CheckpointRow

_EVENT = decoder(Event)


class Sources(Details, Jobs):
    """See the port."""

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """A page of runs, newest first."""
        needs = needs_of(ask.start)
        query = RunsQuery(query=ask.query, after=ask.after, n=ask.n)
        wanted = query_of(query)
        await self._fresh()
        if ask.ids:
            sql = (
                "SELECT id, state FROM runs WHERE ns = ?1 AND state IS NOT NULL"
                " AND id IN (SELECT value FROM json_each(?2)) ORDER BY id DESC"
            )
            found: list[Any] = self.db.execute(sql, values([ns, list(ask.ids)])).fetchall()
            following = ""
        else:
            asked = self._asked(ns, wanted)
            found, following = await self.reader.read(
                lambda db: Scan(db, asked).page(query, "r.id, r.state")
            )
        forked = self._forked_by(ns)
        out: list[Source] = []
        for run, state in found:
            points: list[CheckpointRow] = self._checkpoints(run) if needs.checkpoints else []
            errors: list[Failure] = self._failures(run) if needs.failures else []
            once = self.db.execute(
                "SELECT key FROM marks WHERE run = ? AND kind = 'once' AND status = 'done'"
                " ORDER BY key",
                (run,),
            )
            marks = tuple(key for (key,) in once)
            status = RunState(state).status
            out.append(
                source_of(run, status, ask.start, points, errors, marks, forked.get(run, ""))
            )
        return SourcesPage(out, following)

    def _failures(self, run: str) -> list[Failure]:
        rows = self.db.execute("SELECT body FROM events WHERE run = ? ORDER BY n", (run,))
        return failures_of([_EVENT.decode(body) for (body,) in rows])
