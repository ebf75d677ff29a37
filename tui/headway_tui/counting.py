"""Counts of values, as the engine gives them: for the line of facets and for completion.

Nothing is polled: what was counted is counted anew when somebody asks for that. The last request
goes first, one is under way at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headway.errors import BadQuery, HeadwayError
from headway.query import parse
from headway.wire.runs import Facets, FacetsAsk

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_tui.link import Link

KEPT = 64
VALUES = 50
AGAIN = 1.0
Asked = tuple[str, tuple[str, ...]]


class Counting:
    """What is known of values, by query and fields."""

    def __init__(self, link: Link, changed: Callable[[], None]) -> None:
        self._link, self._changed = link, changed
        self.known: dict[Asked, Facets] = {}
        self._wanted: list[Asked] = []
        self._moved = asyncio.Event()
        self._served = True
        """An engine of an older version does not count: it is not asked again."""

    def want(self, text: str, by: tuple[str, ...]) -> None:
        """Count, or count anew."""
        if self._served and (text, by) not in self._wanted:
            self._wanted.append((text, by))
            self._moved.set()

    def of(self, text: str, by: tuple[str, ...]) -> Facets | None:
        """What was counted last, if it was."""
        return self.known.get((text, by))

    def values(self, field: str, before: str) -> list[tuple[str, int]]:
        """Values of one field among the runs of a query, most frequent first; asks at first."""
        try:
            parse(before)
        except BadQuery:
            before = ""
        known = (k for k in self.known if k[0] == before and field in k[1])
        found = self.known.get(next(known, (before, (field,))))
        if found is None:
            self.want(before, (field,))
            return []
        return [(f.value, f.runs) for f in found.values.get(field, [])]

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            while self._wanted:
                text, by = self._wanted.pop()
                fields: Any = by
                try:
                    ask = FacetsAsk(text, fields, VALUES)
                    self.known[text, by] = await self._link.ask("facets", ask, Facets)
                except HeadwayError as e:
                    self._served = e.code != "not_served"
                    self._wanted.clear()
                    await asyncio.sleep(AGAIN)
                    continue
                while len(self.known) > KEPT:
                    del self.known[next(iter(self.known))]
                self._changed()
