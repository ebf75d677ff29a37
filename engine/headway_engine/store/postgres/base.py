"""What the store's areas share: connections, the engine's id, the outbox of this engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from headway_engine.store.postgres.db import Db
    from headway_engine.store.postgres.recent import Recent


class Outbox:
    """Which outbox rows of this process wait for RUNS, and which are spent (DECISIONS E1).

    A row is spent when RUNS has all of its events; it goes with this engine's next batch. What is
    lost with the process is published again by any engine's sweeper.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._left: dict[int, int] = {}
        self._spent: list[int] = []

    def add(self, row: int | None, items: Iterable[tuple[str, int]]) -> None:
        """A batch was committed with this row: last (run, n) of each run."""
        if row is None or row in self._left:
            return
        count = 0
        for run, n in items:
            self._waiting.setdefault(run, []).append((n, row))
            count += 1
        if count:
            self._left[row] = count
        else:
            self._spent.append(row)

    def published(self, events: Sequence[tuple[str, int]]) -> None:
        """RUNS has these events: (run, n) each.

        It need not have those before them: a call that hung, or lost the store, after its commit
        never told of it, and later calls of the same run did. Such a row stays for the sweeper.
        """
        for run, n in events:
            waiting = self._waiting.get(run)
            if waiting is None:
                continue
            rest = [item for item in waiting if item[0] != n]
            for number, row in waiting:
                if number == n:
                    self._left[row] -= 1
                    if not self._left[row]:
                        del self._left[row]
                        self._spent.append(row)
            if rest:
                self._waiting[run] = rest
            else:
                del self._waiting[run]

    def take(self) -> list[int]:
        """Rows to delete with the next batch. If that batch fails, give them back."""
        spent, self._spent = self._spent, []
        return spent

    def give_back(self, rows: list[int]) -> None:
        """The batch failed."""
        self._spent.extend(rows)


class Part:
    """Base of the areas of PostgresStore."""

    engine: str
    db: Db
    outbox: Outbox
    recent: Recent
    retention: timedelta
    known_queues: set[tuple[str, str]]
    short: bool
    """One item alone goes by a statement of its own: the same rows for half of the time."""

    async def now(self) -> datetime:
        """The store's clock; a cheap probe."""
        return (await self.db.fetch("SELECT hw_now()"))[0][0]
