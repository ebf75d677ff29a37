"""All that is known of a run beside its panes, as names and values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.budgets import told
from headway.texts import plural, size, span, tries
from headway.wire.runs import ALIKE_HOURS, KIN
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.runs import Kin, RunDetail


def about(detail: RunDetail, now: datetime) -> list[tuple[str, str]]:
    """Names and values; what there is nothing of is left out."""
    row, kin = detail.row, detail.kin
    facts = [
        ("run", row.run), ("task", row.task), ("state", row.status), ("why", detail.why),
        ("queue", f"{row.queue}  priority {row.priority}" if row.priority else row.queue),
        ("agent", row.agent), ("version", row.version), ("site", row.site),
        ("created", _when(row.created_at, now)), ("started", _when(row.started_at, now)),
        ("ended", _when(row.ended_at, now)), ("due", _when(row.due_at, now)),
        ("attempts", tries(row, " of ") if row.attempt or row.max_attempts else ""),
        ("checkpoint", f"◆{row.checkpoint} {row.checkpoint_name}" if row.checkpoint else ""),
        ("tags", " ".join(row.tags)), ("key", row.key), ("parent", row.parent),
        ("origin", row.origin), ("forks", forks(kin)), ("job", row.job), ("trace", detail.trace),
        ("used", _used(detail)), ("budget", told(detail.budget) if detail.budget else ""),
        ("payload", _size(bytes(detail.payload), detail.payload_ref and detail.payload_ref.size)),
        ("result", _size(bytes(detail.result), detail.result_ref and detail.result_ref.size)),
        ("variables", " ".join(detail.env)),
    ]  # fmt: skip
    return [(name, safe(value, 2000)) for name, value in facts if value]


def forks(kin: Kin | None) -> str:
    """How many there are, in words; empty = none."""
    if kin is None or not kin.forks:
        return ""
    return plural(kin.forks, "fork") if kin.forks < KIN else f"{KIN:,}+ forks"


def alike(kin: Kin | None, now: datetime, *, short: bool = False) -> str:
    """How many runs failed as this one did, and since when, in words; empty = it did not fail."""
    if kin is None or kin.first_at is None:
        return ""
    told = f"first seen {_clock(kin.first_at, now)}"
    count = f"{kin.alike:,}" if kin.alike < KIN else f"{KIN:,}+"
    if kin.alike > 1 and short:
        return f"{count} in {ALIKE_HOURS}h (E) since {_clock(kin.first_at, now)}"
    if kin.alike > 1:
        return f"same class in {count} runs in {ALIKE_HOURS}h (E to list them)  ·  {told}"
    return told


def _clock(at: datetime, now: datetime) -> str:
    local, today = at.astimezone(), now.astimezone().date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"


def _when(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    apart = f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}   {apart}"


def _used(detail: RunDetail) -> str:
    row = detail.row
    tokens = row.tokens_in + row.tokens_out
    told = [f"${row.cost_usd:.4g}" if row.cost_usd else "",
            f"{row.tokens_in:,} tokens in, {row.tokens_out:,} out" if tokens else ""]  # fmt: skip
    return "  ".join(t for t in told if t)


def _size(body: bytes, large: int | None) -> str:
    if large:
        return f"{size(large)} in the blob store"
    return size(len(body)) if body else ""
