"""Dead letters by class, and what reviews wait for; on the lists' own connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.wire.steering import DeadAsk, DeadClass, DeadPage
from headway_engine.store.listing import NEWEST, message_of, review_of
from headway_engine.store.postgres import rows, statements
from headway_engine.store.postgres.base import Part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headway.wire.runs import Review

_SQL = statements.load("dead")


class Dead(Part):
    """See the port."""

    async def dead(self, ns: str, ask: DeadAsk) -> DeadPage:
        """Classes, the largest first."""
        now = await self.now()
        found = await self.db.read(_SQL["classes"], ns, ask.by == "task", ask.n, NEWEST)
        return _page(found, now)

    async def _dead_of_sites(self, ns: str, ask: DeadAsk) -> DeadPage:
        """The same where runs are those of sites: a class is of one site."""
        now = await self.now()
        by_task = ask.by == "task"
        found = await self.db.read(_SQL["of_sites"], ns, by_task, ask.n, NEWEST, ask.site)
        page = _page(found, now)
        for row, one in zip(found, page.classes, strict=True):
            one.site = row["site"]
        return page

    async def reviews(self, ns: str, runs: Sequence[str]) -> dict[str, Review]:
        """Of these runs those in REVIEW, and what each waits for."""
        return {
            row["id"]: review_of(
                row["at"], rows.data_of(row["data"]), rows.marks_of(row["open_marks"]),
                row["unconfirmed"],
            )
            for row in await self.db.read(_SQL["reviews"], ns, list(runs))
        }  # fmt: skip


def _page(found: Sequence[Any], now: datetime) -> DeadPage:
    classes = [
        DeadClass(
            row["failure"], row["task"], row["n"], row["first_at"], row["last_at"],
            row["sample"], row["tasks"], row["ck"], row["name"] or "",
            message_of(rows.error_of(row["error"])),
        )
        for row in found
    ]  # fmt: skip
    total, kinds = (found[0]["total"], found[0]["classes"]) if found else (0, 0)
    return DeadPage(classes, now, total, kinds - len(classes))
