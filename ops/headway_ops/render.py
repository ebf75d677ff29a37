"""How runs, events and queues look in a terminal: pure, from wire Structs to rich texts and tables.

Every outside string goes through `safe_line`; every line fits 80 columns where the data allows it.
The words and glyphs are the same as in the terminal app.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from headway.looks import UNKNOWN, look
from headway.safe import safe_line
from headway.texts import age, tries
from headway.wire.runs import UsageRow
from headway_tui.model.sparks import spark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from headway.looks import Look
    from headway.wire.fleet import AgentRow, QueueRow
    from headway.wire.runs import RunRow
    from headway.wire.steering import DeadClass
    from headway_tui.model.metrics import Curve


_STYLES = {
    "muted": "dim", "info": "blue", "wait": "cyan", "warning": "yellow", "review": "bold yellow",
    "good": "green", "bad": "bold red", "bad-soft": "red",
}  # fmt: skip


def style_of(shape: Look) -> str:
    """The rich style of a look's role."""
    return _STYLES[shape.role]


def unicode_output() -> bool:
    """True if stdout can write the glyphs."""
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") in {"utf8", "utf16", "utf32"}


def status_text(status: str, *, full: bool = False, glyphs: bool | None = None) -> Text:
    """Glyph and word of a status; `full` gives the name that queries use."""
    shape = look(status)
    with_glyph = unicode_output() if glyphs is None else glyphs
    word = safe_line(status.lower(), 20) if full or shape is UNKNOWN else shape.word
    return Text(f"{shape.glyph if with_glyph else shape.ascii} {word}", style=style_of(shape))


def one_line(value: Any, limit: int = 60) -> str:
    """A JSON value on one safe line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return safe_line(text, limit)


def pairs(data: Mapping[str, Any], limit: int = 60) -> str:
    """`key=value` for everything in a mapping, safe and capped."""
    shown = (f"{safe_line(k, 40)}={one_line(v, limit)}" for k, v in data.items())
    return safe_line("  ".join(shown), 400)


def a_table(*columns: str, wide: int = -1) -> Table:
    """A table without borders; the column number `wide` (filled with `cut`) gives way first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, no_wrap=index != wide, overflow="ellipsis")
    return table


def cut(text: str) -> Text:
    """A safe cell that is cut with an ellipsis where there is no room, never wrapped."""
    return Text(safe_line(text, 400), no_wrap=True, overflow="ellipsis")


def runs_table(rows: Sequence[RunRow], now: datetime) -> Table:
    """The list of runs, newest first: status, id, task, attempt, checkpoint, age.

    With the site, where one owns a run, and what runs have cost, where one told it.
    """
    names = ["STATUS", "RUN", "TASK", "TRY", "CHECKPOINT", "AGE"]
    sites, costs = any(row.site for row in rows), any(row.cost_usd for row in rows)
    more = [name for name, there in (("COST", costs), ("SITE", sites)) if there]
    table = a_table(*names, *more, wide=2)
    for row in rows:
        point = f"#{row.checkpoint} {row.checkpoint_name}" if row.checkpoint else "-"
        table.add_row(
            status_text(row.status),
            Text(safe_line(row.run, 26)),
            cut(row.task),
            _try_of(row),
            Text(safe_line(point, 14)),
            age(row.created_at, now),
            *([f"${row.cost_usd:,.2f}" if row.cost_usd else "-"] if costs else []),
            *([Text(safe_line(row.site, 16) or "-")] if sites else []),
        )
    return table


def sites_line(sites: Mapping[str, datetime | None], now: datetime) -> Text:
    """How old is what is known of sites, on one line."""
    text = Text()
    for site, at in sorted(sites.items()):
        known = f"known as it was {age(at, now)} ago" if at else "not all of it is here yet"
        text.append(f"site {site}: {known}   ")
    return text


def _try_of(row: RunRow) -> str:
    return tries(row) if row.attempt else "-"  # nothing that counts as an attempt has begun


def dead_table(classes: Sequence[DeadClass], now: datetime) -> Table:
    """Dead letters by class: how many, the last when, how far most had come, the newest of them."""
    sites = any(c.site not in ("", "-") for c in classes)
    last = ("SAMPLE", "SITE") if sites else ("SAMPLE",)
    table = a_table("RUNS", "CLASS", "TASK", "LAST", "CHECKPOINT", *last, wide=1)
    for c in classes:
        point = f"#{c.checkpoint} {c.checkpoint_name}" if c.checkpoint else "-"
        table.add_row(
            Text(str(c.count), style="bold red"),
            cut(c.failure),
            Text(safe_line(c.task, 24)) if c.tasks == 1 else Text(f"{c.tasks} tasks"),
            age(c.last_at, now),
            Text(safe_line(point, 14)),
            Text(safe_line(c.sample, 26)),
            *([Text(safe_line(c.site, 64))] if sites else []),
        )
    return table


def counts_line(counts: Mapping[str, int]) -> Text:
    """Live runs by status, on one line."""
    text = Text()
    for status, count in counts.items():
        if count:
            text.append_text(status_text(status, full=True)).append(f" {count}   ")
    return text


def queues_table(rows: Sequence[QueueRow], now: datetime) -> Table:
    """The queues: limits and what waits in them."""
    table = a_table("QUEUE", "STATE", "LIMIT", "OPEN", "QUEUED", "RETRY", "DELAY", "AGENTS",
                    "OLDEST", "NOTE", wide=9)  # fmt: skip
    for row in rows:
        limit = str(row.limit) if row.limit else "none"
        if row.key_limit:
            limit += f" ({row.key_limit}/key)"
        table.add_row(
            cut(row.queue),
            Text("paused", style="bold yellow") if row.paused else Text("open"),
            limit,
            str(row.open),
            str(row.queued + row.dispatched),
            str(row.retrying),
            str(row.delayed),
            Text(str(row.agents), style="" if row.agents else "bold yellow"),
            age(row.oldest_at, now),
            cut(_paused(row)),
        )
    return table


def curves_table(curves: Sequence[Curve], width: int = 40) -> Table:
    """Metrics with their last value, their greatest, and how they went."""
    table = a_table("METRIC", "NOW", "MAX", "CURVE")
    for curve in curves:
        drawn = spark(curve.values, width, ascii_only=not unicode_output())
        table.add_row(curve.name, curve.now, curve.high, drawn)
    return table


def usage_table(rows: Sequence[UsageRow], by: str) -> Table:
    """What was used, a line for each key, and all together."""
    table = a_table(by.upper(), "RUNS", "ATTEMPTS", "TOKENS IN", "TOKENS OUT", "COST", wide=0)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(cut(row.key or "-"), *_used(row))
    if len(rows) > 1:
        # A run may stand under several models and days: their sum is no number of runs.
        whole = UsageRow(
            "", sum(r.runs for r in rows), sum(r.attempts for r in rows),
            sum(r.tokens_in for r in rows), sum(r.tokens_out for r in rows),
            sum(r.cost_usd for r in rows),
        )  # fmt: skip
        cells = _used(whole)
        if by in {"model", "day"}:
            cells[:2] = ["", ""]
        table.add_row("all these", *cells, style="bold")
    return table


def _used(row: UsageRow) -> list[str]:
    return [f"{row.runs:,}", f"{row.attempts:,}", f"{row.tokens_in:,}", f"{row.tokens_out:,}",
            f"${row.cost_usd:,.2f}"]  # fmt: skip


def _paused(row: QueueRow) -> str:
    if not row.paused:
        return ""
    why = f' "{row.reason}"' if row.reason else ""
    return f"by {row.paused_by.removeprefix('user:') or '?'}{why}"


def agents_table(rows: Sequence[AgentRow]) -> Table:
    """The agents: alive or not, what they serve, how full they are."""
    table = a_table("AGENT", "STATE", "RUNTIME", "SLOTS", "SHARED", "OPEN", "QUEUES", wide=6)
    for row in rows:
        if not row.alive:
            state = Text("lost", style="bold red")
        elif row.drain:
            state = Text("draining", style="bold yellow")
        elif row.degraded:
            state = Text("degraded", style="bold yellow")
        else:
            state = Text("alive", style="green")
        table.add_row(
            Text(safe_line(row.agent, 24)),
            state,
            Text(safe_line(row.runtime, 10)),
            str(row.slots),
            str(row.shared_slots),
            str(row.open),
            cut(", ".join(row.queues)),
        )
    return table
