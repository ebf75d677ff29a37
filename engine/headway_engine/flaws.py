"""What no agent may write: saves and reports that can never be stored, found before it. Pure.

A batch carries saves and reports of many runs. One that the store would refuse, or that would make
a decision fail, is answered alone here; the others go on (DECISIONS A2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.wire import CHECKPOINT_LIMIT, DURATION_LIMIT, KEY_LIMIT, clean_text
from headway.wire.reports import AttemptFailed, Finished, Suspend
from headway.wire.saves import SaveCheckpoint, SaveUsage

if TYPE_CHECKING:
    from headway.wire import BlobRef
    from headway.wire.reports import Report
    from headway.wire.saves import AnySave, SaveMark

KINDS = frozenset({"step", "once", "sleep", "wait", "call"})
"""Marks that an attempt writes by itself; the mark of a child is the engine's own."""
STATUSES = frozenset({"started", "done", "failed", "interrupted", "error", "open"})
YEARS = range(1970, 5000)
"""Of a time that a task chose: some are added to, and columns end somewhere."""
_COUNT = 2**31
_EPOCHS = 2**53


def of_save(save: AnySave, ns: str) -> str:
    """Why this save can never be stored; empty if it can."""
    if isinstance(save, SaveUsage):
        if not 0 < save.epoch < _EPOCHS:
            return "epoch out of range"
        return _bad_text(*(u.model for u in save.used))
    if _foreign(save.ref, ns, save.run):
        return "ref: not a blob of this run"
    if isinstance(save, SaveCheckpoint):
        if not 0 < save.number < _COUNT or not 0 <= save.size <= CHECKPOINT_LIMIT:
            return "number or size out of range"
        return _bad_text(save.name, save.schema, save.sha256)
    return _of_mark(save)


def _of_mark(save: SaveMark) -> str:
    if save.kind not in KINDS:
        return f"no attempt writes a mark of kind {save.kind[:64]!r}"
    if save.status not in STATUSES:
        return f"a mark has no status {save.status[:64]!r}"
    if not 0 <= save.size < _COUNT or not 0 <= save.after < _COUNT:
        return "size or after out of range"
    if not 0 <= save.seconds <= DURATION_LIMIT:
        return "seconds out of range"
    return _bad_text(save.key, save.fn, save.token)


def of_report(report: Report, ns: str) -> str:
    """Why this report can never be carried out; empty if it can."""
    for what in ("lines", "lines_lost", "spans_lost"):
        if not 0 <= getattr(report, what, 0) <= 2**53:
            return f"{what} out of range"
    if isinstance(report, Finished):
        # A result may lie nowhere but among the run's own blobs.
        if _foreign(report.ref, ns, report.run):
            return "ref: not a blob of this run"
        return "" if 0 <= report.size < _COUNT else "size out of range"
    if isinstance(report, AttemptFailed):
        if not 0 <= (report.retry_in or 0.0) <= DURATION_LIMIT:
            return "retry_in out of range"
        at = report.retry_at
        if at is not None and (at.year not in YEARS or at.tzinfo is None):
            return "retry_at: no time that a run can wait for"
        return _bad_text(report.cause, report.key, report.token)
    if isinstance(report, Suspend):
        if not 0 <= (report.seconds or 0.0) <= DURATION_LIMIT or not 0 <= report.after < _COUNT:
            return "seconds or after out of range"
        return _bad_text(report.key, report.fn)
    return ""


def _foreign(ref: BlobRef | None, ns: str, run: Any) -> bool:
    return ref is not None and not ref.key.startswith(f"{ns}/{run}/")


def _bad_text(*texts: str) -> str:
    for text in texts:
        if len(text) > KEY_LIMIT:
            return f"a name is longer than {KEY_LIMIT} characters"
        if not clean_text(text):
            return "NUL and lone surrogates cannot be stored in names and keys"
    return ""
