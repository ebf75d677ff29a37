"""Looking at runs and steering them: a method for each verb of the engine's api."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.bodies import Bodies
from headway.tags import Retag
from headway.wire import BlobRef
from headway.wire.api import Done
from headway.wire.replays import ForkAsk, Forked
from headway.wire.runs import (
    CheckpointRow,
    ResultsAnswer,
    ResultsAsk,
    RunAsk,
    RunDetail,
    RunsPage,
    RunsQuery,
    StateAnswer,
    StateAsk,
)
from headway.wire.steering import CancelAsk, ResumeAsk, TagAsk

if TYPE_CHECKING:
    from collections.abc import Sequence


class Steering(Bodies):
    """The verbs that need no handle; see `Client`, which has the rest."""

    async def runs(self, query: RunsQuery | None = None) -> RunsPage:
        """A page of the list of runs, newest first."""
        return await self.api("runs", query or RunsQuery(), RunsPage)

    async def run(self, run: str) -> RunDetail:
        """Everything about one run: its id, or a prefix that only one has. Raises NoSuchRun."""
        return await self.api("run", RunAsk(run=run), RunDetail)

    async def cancel(self, run: str, reason: str = "") -> Done:
        """Cancel: final once answered, also for an id that intake has not seen yet."""
        return await self.api("cancel", CancelAsk(run, reason), Done)

    async def tag(
        self, run: str, add: str | Sequence[str] = (), remove: str | Sequence[str] = ()
    ) -> Done:
        """Add tags and remove others, of a run in any state, also one that has ended.

        An attempt that is open goes on with those that it began with. The answer is `already` if
        nothing changed, `refused` if there would be too many. Raises NoSuchRun, and Refused for
        what is no tag.
        """
        change = Retag.of(add, remove)
        return await self.api("tag", TagAsk(run, change.add, change.remove), Done)

    async def resume(self, ask: ResumeAsk) -> Done:
        """The next attempt now, with decisions on ambiguous once marks where they are asked for."""
        return await self.api("resume", ask, Done)

    async def state(self, run: str, number: int = 0) -> tuple[CheckpointRow, bytes]:
        """A checkpoint (0 = the last) with its state as JSON. Raises NoSuchRun if there is none."""
        answer = await self.api("state", StateAsk(run, number), StateAnswer)
        row = answer.row
        if not answer.key:
            return row, bytes(answer.state)
        return row, await self.fetch_blob(BlobRef(answer.key, row.size, row.sha256))

    async def fork(self, ask: ForkAsk) -> Forked:
        """A new run from a checkpoint of another, maybe with edits; asking twice makes one run."""
        return await self.api("fork", ask, Forked)

    async def ask_results(self, runs: list[str]) -> ResultsAnswer:
        """Which of these have ended? One request for up to a thousand."""
        return await self.api("result", ResultsAsk(runs), ResultsAnswer)
