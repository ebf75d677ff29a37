"""The list of runs: a snapshot of the engine, kept true by events. Pure.

Whatever the order in which snapshot and events get here, and however often an event comes, the rows
are the same: a row's `n` says up to which event it is true. Rows keep their place; runs that are
new are counted, and taken in when the reader asks for them.

A long list is read from both ends: rows from its top, rows up to its bottom, and between them one
place that stands for all that was not read yet.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headway.safe import failure_class
from headway.states import FAILURES, TERMINAL
from headway.wire import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headway.wire.events import Event, RunEvents
    from headway.wire.runs import RunRow

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
    elif (tags := tags_of(event)) is not None:
        change["tags"] = tags
    if kind == "starting":
        change["agent"] = _text(data.get("agent"))
        change["claimed_at"] = event.at
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


def tags_of(event: Event) -> tuple[str, ...] | None:
    """The run's tags after an event that changed them; None = it is another one."""
    tags = event.data.get("tags")
    if event.kind != "tagged" or not isinstance(tags, list):
        return None
    return tuple(tag for tag in tags if isinstance(tag, str))  # pyright: ignore[reportUnknownVariableType] data of an event is open


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


def began(body: RunEvents) -> bool:
    """True if these events are the first ones of a run."""
    first = body.events[0] if body.events else None
    return first is not None and not first.source and first.n == 1


class RunsView:
    """Rows in their order, and what was heard of other runs."""

    def __init__(self) -> None:
        self.order: list[str] = []
        """The rows from the top on."""
        self.bottom: list[str] = []
        """The rows up to the end of the list, where that was gone to; disjoint from `order`."""
        self.rows: dict[str, RunRow] = {}
        self.place: dict[str, int] = {}
        """Of the rows from the top."""
        self.new: dict[str, None] = {}
        """Runs that belong to the list now and are not in it, oldest first."""
        self.maybe: dict[str, None] = {}
        """Runs that may belong to it: the engine is to be asked."""
        self.gaps: set[str] = set()
        """Runs of which an event is missing: ask the engine for them again."""
        self.interest: Callable[[RunEvents], bool] | None = None
        """Whether a run that is not listed may belong to the list after these events; None = every
        new run does."""
        self.events = 0
        self.changed = True
        self._early: dict[str, dict[int, Event]] = {}
        self._asking = 0

    def clear(self) -> None:
        """Rows and events of another place come from now on."""
        self.snapshot(())
        self.gaps.clear()
        self._early.clear()
        self._asking, self.events = 0, 0

    def asking(self) -> None:
        """Rows are being asked for: from now on everything heard is kept for the answer."""
        self._asking += 1

    def unanswered(self) -> None:
        """The answer will not come."""
        self._asking = max(0, self._asking - 1)

    def snapshot(self, rows: Iterable[RunRow], *, more: bool = False) -> None:
        """The engine's page: in place of the list, or `more` = after its first rows."""
        if not more:
            self.order, self.bottom, self.rows, self.place = [], [], {}, {}
            self.new.clear()
            self.maybe.clear()
        self._take(rows, self._append)

    def end(self, rows: Iterable[RunRow]) -> bool:
        """A page from the end of the list upwards, the last row first; True = it met the top."""
        known = set(self.order)
        found = list(rows)
        met = any(row.run in known for row in found)

        def above(run: str) -> None:
            if run not in known:
                self.bottom.insert(0, run)

        self._take(found, above)
        if met:
            self.joined()
        return met

    def joined(self) -> None:
        """Nothing lies between the two parts: they are one."""
        below, self.bottom = self.bottom, []
        for run in below:
            self._append(run)
        self.changed = True

    def _append(self, run: str) -> None:
        if run in self.place:
            return
        if run in self.rows and run in self.bottom:
            # The top came down to the rows of the bottom: both are one list from here on.
            self.joined()
            return
        self.place[run] = len(self.order)
        self.order.append(run)

    def _take(self, rows: Iterable[RunRow], put: Callable[[str], None]) -> None:
        self._asking = max(0, self._asking - 1)
        for row in rows:
            put(row.run)
            self._put(row)
        if not self._asking:
            self._early = {run: e for run, e in self._early.items() if run in self.rows}
        for waiting in (self.new, self.maybe):
            for run in [run for run in waiting if run in self.rows]:
                del waiting[run]
        self.changed = True

    def refreshed(self, rows: Iterable[RunRow]) -> None:
        """Rows that were asked for again, because of a gap: their place stays."""
        for row in rows:
            if row.run in self.rows:
                self._put(row)
        self.changed = True

    def answered(self, asked: Iterable[str], belong: Iterable[str]) -> None:
        """Which of the runs that may belong to the list do."""
        for run in asked:
            self.maybe.pop(run, None)
        for run in belong:
            if run not in self.rows:
                self.new[run] = None
        self._forget()
        self.changed = True

    def hear(self, body: RunEvents) -> None:
        """Events of one run."""
        self.events += len(body.events)
        row = self.rows.get(body.run)
        if row is None:
            self._stranger(body)
            return
        early = self._early.setdefault(body.run, {})
        early.update((e.n, e) for e in body.events if e.n > row.n)
        self._advance(row)

    def digested(self, new: Iterable[str], moved: Iterable[str]) -> list[str]:
        """Runs of which something was told, but not what; which rows to ask for again."""
        stale = [run for run in (*new, *moved) if run in self.rows]
        if self.interest is None:
            self.new |= {run: None for run in new if run not in self.rows}
        self._forget()
        self.changed = True
        return stale

    def _stranger(self, body: RunEvents) -> None:
        if self.interest is None:
            if began(body):
                self.new[body.run] = None
        elif body.run not in self.new and self.interest(body):
            self.maybe[body.run] = None
        self._forget()
        if self._asking:
            self._early.setdefault(body.run, {}).update((e.n, e) for e in body.events)
            self.changed = True
        elif body.run in self.new:
            self.changed = True

    def _forget(self) -> None:
        for waiting in (self.new, self.maybe):
            while len(waiting) > KEEP_STRANGERS:
                del waiting[next(iter(waiting))]

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

    # --- places

    def count(self) -> int:
        """Places of the list: rows, and one for those between its two ends."""
        return len(self.order) + len(self.bottom) + bool(self.bottom)

    def id_at(self, index: int) -> str:
        """The run at a place; empty for the one between the two ends, and outside."""
        if 0 <= index < len(self.order):
            return self.order[index]
        index -= len(self.order) + 1
        return self.bottom[index] if 0 <= index < len(self.bottom) else ""

    def at(self, index: int) -> RunRow | None:
        """The row at a place; None for the one between the two ends, and outside."""
        return self.rows.get(self.id_at(index))

    def index_of(self, run: str) -> int:
        """The place of a run; -1 if it is not in the list."""
        if run in self.place:
            return self.place[run]
        return len(self.order) + 1 + self.bottom.index(run) if run in self.bottom else -1
