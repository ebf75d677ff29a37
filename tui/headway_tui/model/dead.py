"""Dead letters by class, and runs in REVIEW: what is shown, and what has to be asked anew. Pure.

Classes are sums: an event only says that they are others now. A review is a row of its own, and any
event of its run says that the row is to be asked for; an answer that left before an event which is
known already changes nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from headway.states import FAILURES, RunState
from headway.texts import age
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headway.wire.events import RunEvents
    from headway.wire.runs import RunRow
    from headway.wire.steering import DeadClass, DeadPage

_DEAD = {s.value for s in FAILURES}
_SEEN = {"acknowledged", "unacknowledged"}
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
OWN = "-"
"""The site of the hub's own dead letters, where there are others."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Piece = tuple[str, str]
"""A text and its role of colour."""


class DeadView:
    """Both lists."""

    def __init__(self) -> None:
        self.page: DeadPage | None = None
        self.reviews: dict[str, RunRow] = {}
        self.order: list[str] = []
        """Reviews, the longest waiting first."""
        self.more = False
        """There are more reviews than are listed."""
        self.stale = True
        """The classes are to be asked for."""
        self.wanted: set[str] = set()
        """Runs whose rows are to be asked for."""
        self.changed = True

    @property
    def classes(self) -> list[DeadClass]:
        """The largest first."""
        return self.page.classes if self.page is not None else []

    def hear(self, body: RunEvents) -> bool:
        """Events of one run; True if something is to be asked for."""
        for event in body.events:
            if event.target in _DEAD or event.kind in _SEEN:
                self.stale = True
            if event.target == RunState.REVIEW or body.run in self.reviews:
                self.wanted.add(body.run)
        return self.stale or bool(self.wanted)

    def take_classes(self, page: DeadPage) -> None:
        """The engine's answer to a question that was asked after the last event."""
        self.page, self.changed = page, True

    def take_reviews(self, rows: Iterable[RunRow], *, whole: bool, more: bool = False) -> None:
        """Rows of runs in REVIEW; `whole`: there are no others (that are listed)."""
        if whole:
            self.reviews, self.more = {}, more
        for row in rows:
            have = self.reviews.get(row.run)
            if have is not None and have.n > row.n:
                continue
            if row.status == RunState.REVIEW.status:
                self.reviews[row.run] = row
            else:
                self.reviews.pop(row.run, None)
        self.order = sorted(self.reviews, key=lambda run: (_since(self.reviews[run]), run))
        self.changed = True

    def gone(self, runs: Iterable[str]) -> None:
        """These were asked for and there is no such run any more."""
        for run in runs:
            self.reviews.pop(run, None)
        self.order = [run for run in self.order if run in self.reviews]
        self.changed = True

    def letter_at(self, index: int) -> DeadClass | None:
        """The class at a place."""
        return self.classes[index] if 0 <= index < len(self.classes) else None

    def review_at(self, index: int) -> RunRow | None:
        """The review at a place."""
        return self.reviews[self.order[index]] if 0 <= index < len(self.order) else None


def _since(row: RunRow) -> datetime:
    review = row.review
    return review.since if review is not None and review.since is not None else _LONG_AGO


# --- queries and lines for a shell


def value_of(text: str) -> str:
    """A value as the query language reads it literally."""
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def query_of(c: DeadClass, *, dead: bool = True) -> str:
    """The query that means this class; with several tasks all of them."""
    words = ["status:dead"] if dead else []
    words.append(f"failure:{value_of(c.failure)}")
    if c.tasks == 1:
        words.append(f"task:{c.task}")
    if c.site:
        words.append('site:""' if c.site == OWN else f"site:{c.site}")
    return " ".join(words)


def site_of(c: DeadClass) -> str:
    """The site whose runs these are; empty = the runs are those of who answers."""
    return "" if c.site == OWN else c.site


def resume_words(
    run: str, decisions: Mapping[str, str], values: Mapping[str, str], *, override: bool
) -> list[str]:
    """`headway resume` with these decisions, word for word."""
    words = ["headway", "resume", run]
    for key, decision in decisions.items():
        words += ["--once", f"{key}={decision}"]
    for key, value in values.items():
        words += ["--value", f"{key}={value}"]
    return [*words, "--override"] if override else words


def flaw_of_json(text: str) -> str:
    """Why a typed value is no JSON, with where and what to do; empty if it is."""
    try:
        msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        hint = "" if text.strip() else "; nothing is null"
        return safe(f"no JSON: {e}{hint}; a text goes in quotes", 200)
    return ""


# --- cells


def letter_cells(c: DeadClass, now: datetime, sign: str, *, wide: bool) -> list[Piece]:
    """A class: how many, what, where, since when, how far, the newest."""
    point = f"{sign}{c.checkpoint}" if c.checkpoint else "-"
    task = safe(c.task, 64) if c.tasks == 1 else f"{c.tasks} tasks"
    if site := site_of(c):
        task += f" at {safe(site, 64)}"
    cells: list[Piece] = [(f"{c.count:,}", "bad"), (safe(c.failure, 120), "text"), (task, "text")]
    if not wide:
        return [*cells, (age(c.last_at, now), "muted"), (point, "mark"), (_told(c), "bad-soft")]
    named = f"{point} {safe(c.checkpoint_name, 40)}" if c.checkpoint else point
    return [
        *cells, (age(c.first_at, now), "muted"), (age(c.last_at, now), "muted"), (named, "mark"),
        (safe(c.sample[:14]), "muted"), (_told(c), "bad-soft"),
    ]  # fmt: skip


def _told(c: DeadClass) -> str:
    return safe(c.message, 300)


def review_cells(row: RunRow, now: datetime, *, override: bool, wide: bool) -> list[Piece]:
    """A review: why, which key and token, how long, whether older attempts are dead for certain."""
    review = row.review
    marks = review.marks if review is not None else ()
    key = safe(", ".join(m.key for m in marks), 60) or "-"
    token = safe(marks[0].token[:8]) if marks else "-"
    since = age(review.since if review is not None else None, now)
    dead = older(row, override=override)
    cells: list[Piece] = [
        (safe(row.run[4:14] if not wide else row.run[:14]), "text"), (safe(row.task, 64), "text"),
        (safe(row.reason, 40), "review"), (key, "mark"),
    ]  # fmt: skip
    why = safe(review.why if review is not None else "", 300)
    if wide:
        return [*cells, (token, "muted"), (since, "muted"), dead, (why, "muted")]
    return [*cells, (since, "muted"), dead]


def older(row: RunRow, *, override: bool) -> Piece:
    """Whether older attempts are confirmed dead."""
    left = row.review.unconfirmed if row.review is not None else ()
    if not left:
        return "dead", "good"
    if override:
        return "override", "warning"
    return f"#{','.join(map(str, left))} may run", "warning"
