"""Cancel, resume, acknowledge or tag many runs: counted first, then a job for each plan.

The plan names the runs, so what is done is what was counted. Whoever started it may leave; sent
twice, it is one job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from headway.replays.plans import canonical
from headway.tags import Retag
from headway.wire.replays import Pace, Plan, PlanItem
from headway.wire.steering import BulkAsk, BulkPage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.replays import JobItem

Verb = Literal["cancel", "resume", "ack", "tag"]
PAST: dict[str, str] = {
    "cancel": "cancelled", "resume": "resumed", "ack": "acknowledged", "tag": "tagged",
}  # fmt: skip
"""What a run is then, by verb and by `Plan.mode`."""
PACE = Pace(rate=1000.0, max_in_flight=1000, stop_after_failures=0)
LARGEST = 100_000
"""Runs of one plan; more are several."""
_SAME = Retag()
IDS = 1000
"""Ids that are asked about at once."""


def became(mode: str, item: JobItem) -> str:
    """What became of an item of a job, in a word."""
    return PAST.get(mode, "done") if item.status == "done" else item.status or item.state


class Ask(Protocol):
    """How the engine is asked: `Client.api`, or what a console has in its place."""

    async def __call__(self, verb: str, body: Any, kind: type[BulkPage], /) -> BulkPage:
        """The answer; raises HeadwayError."""
        ...


class Meant(NamedTuple):
    """Runs that a verb can move, and when that was so."""

    as_of: datetime
    runs: list[str]


async def meant(ask: Ask, verb: Verb, query: str = "", ids: Sequence[str] = ()) -> Meant:
    """Of a query, or of these runs; nothing is done. Raises BadQuery and other HeadwayErrors."""
    runs: list[str] = []
    as_of: datetime | None = None
    for at in range(0, len(ids) or 1, IDS):
        page = BulkAsk(verb, query, tuple(ids[at : at + IDS]), as_of)
        while True:
            answer = await ask("bulk", page, BulkPage)
            runs += answer.runs
            page.as_of, page.after = answer.as_of, answer.next
            as_of = answer.as_of
            if not answer.next:
                break
    assert as_of is not None
    return Meant(as_of, runs)


def plans(
    verb: Verb, found: Meant, name: str, reason: str = "", tags: Retag = _SAME
) -> list[bytes]:
    """Canonical plans that do it; none for no runs. `name`: what is shown in the list of jobs.

    `tags`: of the verb `tag`, what is to become of them.
    """
    runs = sorted(set(found.runs))
    name = " ".join(filter(None, (verb, str(tags), name)))[:256]
    return [
        canonical(
            Plan(
                tuple(PlanItem(run) for run in runs[at : at + LARGEST]), name, tags=tags.add,
                untag=tags.remove, pace=PACE, mode=verb, follow=False, reason=reason,
                planned_at=found.as_of,
            )
        )
        for at in range(0, len(runs), LARGEST)
    ]  # fmt: skip
