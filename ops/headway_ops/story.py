"""One run told in lines: header, why it is where it is, timeline, marks, error, result. Pure."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from headway.budgets import told
from headway.looks import look
from headway.safe import safe_line, safe_text
from headway.tags import Retag
from headway.texts import age, clock, size, span, took, tries
from headway.wire import INLINE_LIMIT
from headway.wire.events import gist
from headway_ops.render import a_table, cut, one_line, pairs, status_text, style_of, unicode_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from headway.wire import BlobRef, ErrorInfo
    from headway.wire.events import Event
    from headway.wire.runs import CheckpointRow, MarkRow, RunDetail

LINES = 50
"""Of a long timeline the gist is printed, unless all is asked for; of long tables the last."""
FACTS_WIDTH = 78
"""Cells of a line of facts in the header: 80 columns less the indent."""

# glyph, ASCII stand-in, style; statuses have theirs in `headway.looks`.
_MARKS = {
    "checkpoint": ("◆", "#", "magenta"),
    "step": ("▪", ":", ""),
    "once": ("◈", "!", "magenta"),
    "started": ("●", "*", "blue"),
    "lost": ("✗", "x", "yellow"),
    "given_back": ("○", "o", "dim"),
    "resumed": ("↻", "r", ""),
    "resolved": ("⚑", "?", ""),
    "warning": ("!", "!", "yellow"),
    "rejected": ("!", "!", "yellow"),
}


def event_words(kind: str, data: dict[str, Any], epoch: int = 0) -> str:
    """What an event says, without its kind: safe, on one line."""

    def get(key: str, limit: int = 60) -> str:
        value = data.get(key)
        return "" if value in (None, "") else one_line(value, limit)

    words: list[str] = []
    if kind == "checkpoint":
        words = [f"#{get('number')} {get('name')}".strip()]
        if isinstance(data.get("size"), int):
            words.append(size(data["size"]))
    elif kind in {"step", "once"}:
        words = [_effect(data)]
    elif kind == "starting":
        words = [_start(data, epoch)]
    elif kind == "started":
        words = [_resumed(data.get("resumed_from")), _place(data)]
    elif kind == "retrying":
        words = [_try(data), _due(data.get("due_at")), _error_words(data.get("error"))]
    elif kind in {"failed", "timed_out"}:
        words = [get("cause"), _error_words(data.get("error"))]
    elif kind in {"delayed", "waiting"}:
        words = [get("key"), _due(data.get("due_at"))]
    elif kind == "succeeded":
        words = [f"result {size(data['size'])}"] if isinstance(data.get("size"), int) else []
    elif kind == "review":
        words = [f"{get('reason')} {get('key')}".strip(),
                 f"token {get('token')}" if get("token") else ""]  # fmt: skip
    elif kind == "forked":
        words = [f"of {get('origin')}", _resumed(data.get("checkpoint")), _edits(data)]
    elif kind == "resolved":
        words = [f"{get('key')} {get('decision')}".strip()]
    elif kind == "tagged":
        words = [str(Retag.of(words_of(data.get("added")), words_of(data.get("removed"))))]
    elif kind == "cancelled" and isinstance(data.get("confirmed_dead"), bool):
        words = ["its code has ended" if data["confirmed_dead"] else "its code may still run"]
    elif data.get("why"):
        words = [get("why", 200)]
    else:
        words = [pairs(data)]
    words.append(_lost(data))
    return safe_line(", ".join(w for w in words if w), 300)


def _lost(data: dict[str, Any]) -> str:
    """What of an attempt's output nobody will see: `12 lines and 3 spans dropped`, and why."""
    counts = [(data.get(f"{what}s_lost"), what) for what in ("line", "span")]
    told = [
        f"{n:,} {what}{'s' if n > 1 else ''}" for n, what in counts if isinstance(n, int) and n > 0
    ]
    why = " (log_rate)" if data.get("lines_lost") else ""
    return f"{' and '.join(told)} dropped{why}" if told else ""


def words_of(value: Any) -> list[str]:
    """The texts of a list in an event."""
    return [one_line(v) for v in value] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] data of an event is open


def _edits(data: dict[str, Any]) -> str:
    """What a fork changed: edited bodies, and effects that may happen again."""
    told = [f"{word} edited" for word in words_of(data.get("edited"))]
    gone = ", ".join(words_of(data.get("cleared")))
    told += [f"may happen again: {one_line(gone, 100)}"] if gone else []
    told += [f"by job {one_line(data['job'], 40)}"] if data.get("job") else []
    return ", ".join(told)


def _effect(data: dict[str, Any]) -> str:
    """A step or once: `mail started: send()`, `mail done: send() took 2.0 ms`."""
    key, status, fn = (one_line(data.get(name) or "") for name in ("key", "status", "fn"))
    if data.get("child"):
        return f"{key}: {fn} is run {one_line(data['child'], 26)}"
    seconds = data.get("seconds")
    lasted = f"took {span(seconds)}" if isinstance(seconds, int | float) and seconds else ""
    call = f"{fn}()" if fn and fn.replace("_", "-") != key.replace("_", "-") else ""
    head, tail = f"{key} {status}".strip(), f"{call} {lasted}".strip()
    if call:
        return f"{head}: {tail}"
    return f"{head}, {tail}" if tail else head


def _start(data: dict[str, Any], epoch: int) -> str:
    """Which attempt, where. The epoch is told where it says more: it also counts losses."""
    attempt, agent = data.get("attempt"), data.get("agent")
    word = f"attempt {one_line(attempt, 10)}" if attempt else f"epoch {epoch}"
    if agent:
        word += f" on {one_line(agent, 32)}"
    return f"{word}, epoch {epoch}" if attempt and epoch != attempt else word


def _place(data: dict[str, Any]) -> str:
    container, host = data.get("container"), data.get("host")
    words = f"in {one_line(container, 20)}" if container else ""
    return f"{words} on {one_line(host, 20)}".strip() if host else words


def _resumed(value: Any) -> str:
    if not value:
        return "from the start"
    return f"from checkpoint #{one_line(value, 20)}"


def _try(data: dict[str, Any]) -> str:
    attempt, most = data.get("attempt"), data.get("max_attempts")
    return f"attempt {one_line(attempt)} of {one_line(most)} failed" if attempt and most else ""


def _due(value: Any) -> str:
    if isinstance(value, str) and value:
        try:
            return f"due {clock(datetime.fromisoformat(value))}"
        except ValueError:
            return f"due {safe_line(value, 40)}"
    return ""


def _error_words(value: Any) -> str:
    if isinstance(value, dict):
        kind, message = value.get("type", ""), value.get("message", "")  # pyright: ignore[reportUnknownVariableType] data of an event is open
        return one_line(f"{kind}: {message}" if message else f"{kind}", 200)
    return one_line(value, 200) if value else ""


def event_text(event: Event, since: datetime | None = None, *, signs: bool = True) -> Text:
    """One line of a timeline: local time, seconds since the first event, kind, words.

    Without `signs` for a reader that would say aloud what each glyph is.
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(clock(event.at), style="dim")
    if since is not None:
        text.append(f" {(event.at - since).total_seconds():+8.2f}s", style="dim")
    glyph, ascii_glyph, style = _MARKS.get(event.kind, ("", "", ""))
    if not glyph:
        shape = look(event.kind if event.kind in _STATUS_KINDS else "")
        glyph, ascii_glyph, style = shape.glyph, shape.ascii, style_of(shape)
    sign = f"{glyph if unicode_output() else ascii_glyph} " if signs else ""
    text.append(f"  {sign}", style=style)
    words = event_words(event.kind, event.data, event.epoch)
    kind = safe_line(event.kind, 20)
    text.append(f"{kind:<11}" if words else kind, style=style)
    if words:
        text.append(f" {words}")
    if event.actor.startswith("user:"):
        text.append(f"  by {safe_line(event.actor[5:], 40)}", style="dim")
    return text


_STATUS_KINDS = frozenset(
    {
        "delayed", "queued", "starting", "waiting", "retrying", "review", "cancelling",
        "succeeded", "failed", "timed_out", "cancelled", "expired",
    }
)  # fmt: skip


def review_hint(run: str, data: dict[str, Any]) -> str:
    """What a person can type when a run waits for a decision."""
    if data.get("reason") == "once" and data.get("key"):
        key = shlex.quote(one_line(data["key"], 200))
        return (
            f"  it waits for you: did it happen?\n"
            f"  headway resume {run} --once {key}=done     (or {key}=rerun, {key}=fail)"
        )
    if data.get("reason") == "unconfirmed":
        return (
            f"  it waits for the end of an older attempt. If you know that it is dead:\n"
            f"  headway resume {run} --override"
        )
    if data.get("reason") == "budget":
        return (
            f"  it has {one_line(data.get('why') or 'used its budget', 200)}. To let it go on:\n"
            f"  headway resume {run} --budget USD     (or --budget-tokens N)"
        )
    return f"  it waits for you: headway show {run}"


def gap_text(first: int, last: int) -> Text:
    """A hole in a stream, said aloud."""
    many = f"{first}" if first == last else f"{first} to {last}"
    return Text(f"... missing: {many}", style="yellow")


def left_out(many: int, what: str, run: str) -> Text:
    """Lines that were not printed, and how to see them."""
    words = f"... {many:,} {what} left out: headway show {safe_line(run, 26)} --all"
    return Text(words, style="dim")


def short_timeline(events: list[Event], run: str) -> list[Text]:
    """What tells most of a long run; the rest is counted, not shown."""
    return timeline(
        gist(events, LINES), lambda first, last: left_out(last - first + 1, "events", run)
    )


def timeline(events: list[Event], gap: Callable[[int, int], Text] = gap_text) -> list[Text]:
    """Events, one line each; `gap` says which numbers are not among them."""
    lines: list[Text] = []
    expected = events[0].n if events else 1
    since = events[0].at if events else None
    for event in events:
        if event.n > expected:
            lines.append(gap(expected, event.n - 1))
        lines.append(event_text(event, since))
        expected = event.n + 1
    return lines


def header(detail: RunDetail, now: datetime) -> list[RenderableType]:
    """Who the run is: status, id, task, version, attempts, agent, times."""
    row = detail.row
    first = status_text(row.status, full=True)
    first.append(f"  {safe_line(row.task, 64)}", style="bold").append(f"  {safe_line(row.run, 26)}")
    facts = [
        f"queue {safe_line(row.queue, 64)}",
        f"attempt {tries(row, ' of ')}" if row.attempt else "",
        f"epoch {row.epoch}" if row.epoch else "",
        f"version {safe_line(row.version, 24)}" if row.version else "",
        f"agent {safe_line(row.agent, 32)}" if row.agent else "",
        f"tags {safe_line(', '.join(row.tags), 80)}" if row.tags else "",
        f"key {safe_line(row.key, 40)}" if row.key else "",
        f"origin {safe_line(row.origin, 26)}" if row.origin else "",
        f"job {safe_line(row.job, 20)}" if row.job else "",
        f"tokens {row.tokens_in:,} in, {row.tokens_out:,} out"
        if row.tokens_in or row.tokens_out
        else "",
        f"cost ${row.cost_usd:,.4f}" if row.cost_usd else "",
        f"budget {told(detail.budget)}" if detail.budget is not None else "",
    ]
    times = [f"made {age(row.created_at, now)} ago"]
    if row.started_at is not None:
        time = took(row, now)
        times.append(f"{'took' if row.ended_at else 'runs for'} {time}")
    lines: list[RenderableType] = [
        first,
        *_facts([f for f in facts if f]),
        _indented(" · ".join(times)),
    ]
    if detail.why:
        lines.append(_indented(f"why: {safe_line(detail.why, 500)}", style="bold"))
    return lines


def _facts(facts: list[str]) -> list[RenderableType]:
    """Facts side by side, broken between two facts and never inside one that fits a line."""
    lines: list[str] = []
    for fact in facts:
        if lines and cell_len(lines[-1]) + 3 + cell_len(fact) <= FACTS_WIDTH:
            lines[-1] += f" · {fact}"
        else:
            lines.append(fact)
    return [_indented(line) for line in lines]


def _indented(text: str, style: str = "") -> RenderableType:
    """Text that keeps its indent where it wraps."""
    return Padding(Text(text, style=style), (0, 0, 0, 2), expand=False)


def error_lines(error: ErrorInfo) -> list[Text]:
    """An error with its traceback, indented."""
    lines = [Text(f"  {safe_line(error.type, 200)}: {safe_text(error.message)[:2000]}", "red")]
    lines += [Text(f"    {part}") for part in safe_text(error.traceback).splitlines()[-30:]]
    return lines


def checkpoints_table(rows: list[CheckpointRow], site: str = "") -> RenderableType:
    """The checkpoints that are kept; `site`: that owns the run, and keeps large states."""
    away = any(_stays(row.size, site) for row in rows)
    table = a_table("#", "NAME", "SIZE", "AT", "EPOCH", *(["STATE"] if away else []), wide=1)
    for row in rows:
        cells = [str(row.number), cut(row.name), size(row.size), clock(row.at), str(row.epoch)]
        if away:
            cells.append(f"kept at site {site}" if _stays(row.size, site) else "here")
        table.add_row(*cells)
    return table


def _stays(count: int, site: str) -> bool:
    """A body of so many bytes is with the site that owns its run, and not here."""
    return bool(site) and count > INLINE_LIMIT


def marks_table(rows: list[MarkRow]) -> RenderableType:
    """Recorded steps, once marks and waits."""
    table = a_table("KIND", "KEY", "STATUS", "FUNCTION", "EPOCH", wide=1)
    for row in rows:
        table.add_row(
            Text(safe_line(row.kind, 12)), cut(row.key),
            Text(safe_line(row.status, 14)), Text(safe_line(row.fn, 24)), str(row.epoch),
        )  # fmt: skip
    return table


def story(detail: RunDetail, now: datetime, *, whole: bool = False) -> RenderableType:
    """The run for `headway show`; what is long is shortened unless it is to be the `whole`."""
    run = detail.row.run
    parts: list[RenderableType] = [*header(detail, now)]

    def section(title: str, *body: RenderableType) -> None:
        parts.extend([Text(), Text(title, style="bold"), *body])

    if detail.payload:
        section("Payload", Text(f"  {one_line(_body(bytes(detail.payload)), 400)}"))
    elif detail.payload_ref is not None:
        section("Payload", Text(f"  {_large(detail.payload_ref, detail.row.site)}"))
    if detail.events:
        lines = timeline(detail.events) if whole else short_timeline(detail.events, run)
        section("Timeline", *lines)
    kept, marks = detail.checkpoints, detail.marks
    many = len(kept) + len(marks) if whole else LINES
    if kept:
        more = [left_out(len(kept) - many, "checkpoints", run)] if len(kept) > many else []
        section("Checkpoints", *more, checkpoints_table(kept[-many:], detail.row.site))
    if marks:
        more = [left_out(len(marks) - many, "marks", run)] if len(marks) > many else []
        section("Recorded", *more, marks_table(marks[-many:]))
    if detail.row.error is not None and detail.row.status != "cancelled":
        section("Error", *error_lines(detail.row.error))
    if detail.result:
        section("Result", Text(f"  {one_line(_body(bytes(detail.result)), 2000)}"))
    elif detail.result_ref is not None:
        large = _large(detail.result_ref, detail.row.site)
        section("Result", Text(f"  {large}: headway result {detail.row.run}"))
    return Group(*parts)


def _large(ref: BlobRef, site: str) -> str:
    """How large it is, and where."""
    return f"{size(ref.size)}, kept at site {site}" if site else size(ref.size)


def _body(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
