"""Edge store: what a plan of many runs has to know of each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from headway.forks import failures_of
from headway.query.asked import query_of
from headway.states import RunState
from headway.wire import decoder
from headway.wire.events import Event
from headway.wire.replays import Source, SourcesPage
from headway.wire.rpc import MarkRecord
from headway.wire.runs import RunsQuery
from headway_engine.store.edge.details import Details
from headway_engine.store.edge.dialect import values
from headway_engine.store.edge.jobs import Jobs
from headway_engine.store.edge.scanning import Scan
from headway_engine.store.edge.times import moment
from headway_engine.store.planning import needs_of, source_of, took

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.forks import Failure
    from headway.wire.replays import SourcesAsk
    from headway.wire.runs import CheckpointRow

_EVENT, _MARK = decoder(Event), decoder(MarkRecord)


class Sources(Details, Jobs):
    """See the port."""

    async def sources(self, ns: str, ask: SourcesAsk) -> SourcesPage:
        """A page of runs, newest first."""
        needs = needs_of(ask.start)
        query = RunsQuery(query=ask.query, after=ask.after, n=ask.n)
        wanted = query_of(query)
        await self._whole()
        if ask.ids:
            sql = (
                "SELECT id, state, started_at, ended_at FROM runs WHERE ns = ?1"
                " AND state IS NOT NULL AND id IN (SELECT value FROM json_each(?2))"
                " ORDER BY id DESC"
            )
            found: list[Any] = self.db.execute(sql, values([ns, list(ask.ids)])).fetchall()
            following = ""
        else:
            asked = self._asked(ns, wanted)
            found, following = await self.reader.read(
                lambda db: Scan(db, asked).page(query, "r.id, r.state, r.started_at, r.ended_at")
            )
        forked = self._forked_by(ns)
        out: list[Source] = []
        for run, state, started, ended in found:
            points: list[CheckpointRow] = self._checkpoints(run) if needs.checkpoints else []
            errors: list[Failure] = self._failures(run) if needs.failures else []
            once = self.db.execute(
                "SELECT key FROM marks WHERE run = ? AND kind = 'once' AND status = 'done'"
                " ORDER BY key",
                (run,),
            )
            marks = tuple(key for (key,) in once)
            status = RunState(state).status
            source = source_of(
                run, status, ask.start, points, errors, marks, forked.get(run, ""),
                took(moment(started), moment(ended)), None if ended else self._since(run),
            )  # fmt: skip
            source.again = self._again(run, source.checkpoint)
            source.lacks = self._lacks(run, source.checkpoint, ask.keys)
            out.append(source)
        return SourcesPage(out, following)

    def _since(self, run: str) -> datetime | None:
        """When its last event was."""
        sql = "SELECT body FROM events WHERE run = ? ORDER BY n DESC LIMIT 1"
        row = self.db.execute(sql, (run,)).fetchone()
        return _EVENT.decode(row[0]).at if row else None

    def _failures(self, run: str) -> list[Failure]:
        rows = self.db.execute("SELECT body FROM events WHERE run = ? ORDER BY n", (run,))
        return failures_of([_EVENT.decode(body) for (body,) in rows])

    def _again(self, run: str, point: int) -> dict[str, int]:
        """By function, the steps done after this checkpoint."""
        rows = self.db.execute(
            "SELECT record FROM marks WHERE run = ? AND kind = 'step' AND status = 'done'"
            " AND after >= ?",
            (run, point),
        )
        return dict(Counter(_MARK.decode(record).fn for (record,) in rows))

    def _lacks(self, run: str, point: int, keys: Sequence[str]) -> tuple[str, ...]:
        """Which of the keys the state of this checkpoint has not; a state in blobs is not read."""
        row = self.db.execute(
            "SELECT state FROM checkpoints WHERE run = ? AND number = ? AND ref IS NULL",
            (run, point),
        ).fetchone()
        state: Any = msgspec.json.decode(row[0]) if keys and row else None
        return tuple(key for key in keys if key not in state) if isinstance(state, dict) else ()
