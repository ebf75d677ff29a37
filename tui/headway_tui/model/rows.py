"""The list of runs: a snapshot of the engine, kept true by events. Pure.

Whatever the order in which snapshot and events get here, and however often an event comes, the rows
are the same: a row's `n` says up to which event it is true. Rows keep their place; runs that are
new are counted, and taken in when the reader asks for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headway.safe import failure_class
from headway.states import FAILURES, TERMINAL
from headway.wire import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headway.wire.commands import RunRow
    from headway.wire.events import Event, RunEvents

_ENDED = {s.value for s in TERMINAL}
_FAILED = {s.value for s in FAILURES}
KEEP_STRANGERS = 10_000
"""Runs outside the list whose being new is remembered."""


def moved(row: RunRow, event: Event) -> RunRow:
    """The row after its next event."""
    data = event.data
    change: dict[str, Any] = {"n": event.n, "epoch": max(row.epoch, event.epoch)}
    if event.target:
        change["status"] = event.target.lower()
        change["due_at"] = _time(data.get("due_at"))
        change["reason"] = _text(data.get("reason") or data.get("why") or data.get("cause"))
    if event.target in _ENDED:
        change["ended_at"] = event.at
    kind = event.kind
    if event.target in _FAILED:
        error = error_of(data.get("error"))
        change["failure"] = failure_class(error.type if error is not None else "")
        change["acked"] = event.actor.startswith("user:")
    elif kind in {"acknowledged", "unacknowledged"}:
        change["acked"] = kind == "acknowledged"
    if kind == "starting":
        change["agent"] = _text(data.get("agent"))
        if isinstance(data.get("attempt"), int):
            change["attempt"] = data["attempt"]
    elif kind == "started":
        change["started_at"] = row.started_at or event.at
    elif kind == "checkpoint":
        if isinstance(data.get("number"), int):
            change |= {"checkpoint": data["number"], "checkpoint_name": _text(data.get("name"))}
    elif kind in {"retrying", "failed", "timed_out", "review"} and data.get("error"):
        change["error"] = error_of(data["error"])
    if isinstance(data.get("max_attempts"), int):
        change["max_attempts"] = data["max_attempts"]
    return replace(row, **change)


def error_of(value: Any) -> ErrorInfo | None:
    """An event's error as data; a text alone is its type."""
    if isinstance(value, dict):
        return ErrorInfo(_text(value.get("type")), _text(value.get("message")))  # pyright: ignore[reportUnknownArgumentType] data of an event is open
    return ErrorInfo(_text(value)) if value else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


class RunsView:
    """Rows in their order, and what was heard of other runs."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.rows: dict[str, RunRow] = {}
        self.place: dict[str, int] = {}
        self.new: dict[str, None] = {}
        """Runs that began after the snapshot and are not in the list, oldest first."""
        self.gaps: set[str] = set()
        """Runs of which an event is missing: ask the engine for them again."""
        self.events = 0
        self.changed = True
        self._early: dict[str, dict[int, Event]] = {}
        self._asking = 0

    def asking(self) -> None:
        """Rows are being asked for: from now on everything heard is kept for the answer."""
        self._asking += 1

    def unanswered(self) -> None:
        """The answer will not come."""
        self._asking = max(0, self._asking - 1)

    def snapshot(self, rows: Iterable[RunRow], *, more: bool = False) -> None:
        """The engine's page: in place of the list, or `more` = after it."""
        if not more:
            self.order, self.rows, self.place = [], {}, {}
            self.new.clear()
        self._asking = max(0, self._asking - 1)
        for row in rows:
            if row.run not in self.rows:
                self.place[row.run] = len(self.order)
                self.order.append(row.run)
            self._put(row)
        if not self._asking:
            self._early = {run: e for run, e in self._early.items() if run in self.rows}
        for run in list(self.new):
            if run in self.rows:
                del self.new[run]
        self.changed = True

    def refreshed(self, rows: Iterable[RunRow]) -> None:
        """Rows that were asked for again, because of a gap: their place stays."""
        for row in rows:
            if row.run in self.rows:
                self._put(row)
        self.changed = True

    def hear(self, body: RunEvents) -> None:
        """Events of one run."""
        self.events += len(body.events)
        row = self.rows.get(body.run)
        if row is None:
            first = body.events[0] if body.events else None
            if first is not None and not first.source and first.n == 1:
                self.new[body.run] = None
                if len(self.new) > KEEP_STRANGERS:
                    del self.new[next(iter(self.new))]
            if self._asking:
                self._early.setdefault(body.run, {}).update((e.n, e) for e in body.events)
                self.changed = True
            elif body.run in self.new:
                self.changed = True
            return
        early = self._early.setdefault(body.run, {})
        early.update((e.n, e) for e in body.events if e.n > row.n)
        self._advance(row)

    def _put(self, row: RunRow) -> None:
        have = self.rows.get(row.run)
        # An answer that left before an event that is known already says less than the list.
        self.rows[row.run] = row if have is None or row.n >= have.n else have
        self._advance(self.rows[row.run])

    def _advance(self, row: RunRow) -> None:
        early = self._early.get(row.run)
        self.gaps.discard(row.run)
        if early is None:
            return
        while (event := early.get(row.n + 1)) is not None:
            row = moved(row, event)
            self.changed = True
        self.rows[row.run] = row
        if max(early, default=0) > row.n:
            self.gaps.add(row.run)
        if not self._asking:
            # The answer to come may be older than what was heard meanwhile: till then all stays.
            for n in [n for n in early if n <= row.n]:
                del early[n]
            if not early:
                del self._early[row.run]

    def at(self, index: int) -> RunRow | None:
        """The row at a place of the list."""
        return self.rows[self.order[index]] if 0 <= index < len(self.order) else None

    def counts(self) -> dict[str, int]:
        """Rows of the list by status."""
        found: dict[str, int] = {}
        for row in self.rows.values():
            found[row.status] = found.get(row.status, 0) + 1
        return found
