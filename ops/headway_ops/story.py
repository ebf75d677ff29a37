"""One run told in lines: header, why it is where it is, timeline, marks, error, result. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from headway.safe import safe_line, safe_text
from headway_ops.render import (
    a_table,
    age,
    clock,
    cut,
    look,
    one_line,
    pairs,
    size,
    span,
    status_text,
    unicode_output,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headway.wire import ErrorInfo
    from headway.wire.commands import CheckpointRow, MarkRow, RunDetail
    from headway.wire.events import Event

# glyph, ASCII stand-in, style; statuses have theirs in `render.LOOKS`.
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
        words = [get("key"), get("status"), get("fn")]
        if isinstance(data.get("seconds"), int | float) and data["seconds"]:
            words.append(span(data["seconds"]))
    elif kind == "starting":
        words = [f"epoch {epoch}", f"on {get('agent')}" if get("agent") else ""]
    elif kind == "started":
        words = [_resumed(data.get("resumed_from")), get("container", 20), get("host", 20)]
    elif kind == "retrying":
        words = [_try(data), _due(data.get("due_at")), _error_words(data.get("error"))]
    elif kind in {"failed", "timed_out"}:
        words = [get("cause"), _error_words(data.get("error"))]
    elif kind in {"delayed", "waiting"}:
        words = [get("key"), _due(data.get("due_at"))]
    elif kind == "succeeded":
        words = [f"result {size(data['size'])}"] if isinstance(data.get("size"), int) else []
    elif kind == "review":
        words = [get("reason"), get("key"), f"token {get('token')}" if get("token") else ""]
    elif kind == "resolved":
        words = [get("key"), get("decision")]
    elif data.get("why"):
        words = [get("why", 200)]
    else:
        words = [pairs(data)]
    return safe_line(", ".join(w for w in words if w), 300)


def _resumed(value: Any) -> str:
    if not value:
        return "from the first line"
    return f"resumes from checkpoint #{one_line(value, 20)}"


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


def event_text(event: Event, since: datetime | None = None) -> Text:
    """One line of a timeline: local time, seconds since the first event, kind, words."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(clock(event.at), style="dim")
    if since is not None:
        text.append(f" {(event.at - since).total_seconds():+9.2f}s", style="dim")
    glyph, ascii_glyph, style = _MARKS.get(event.kind, ("", "", ""))
    if not glyph:
        shape = look(event.kind if event.kind in _STATUS_KINDS else "")
        glyph, ascii_glyph, style = shape.glyph, shape.ascii, shape.style
    text.append(f"  {glyph if unicode_output() else ascii_glyph} ", style=style)
    text.append(f"{safe_line(event.kind, 20):<11}", style=style)
    words = event_words(event.kind, event.data, event.epoch)
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


def gap_text(first: int, last: int) -> Text:
    """A hole in a stream, said aloud."""
    many = f"{first}" if first == last else f"{first} to {last}"
    return Text(f"... missing: {many}", style="yellow")


def timeline(events: list[Event]) -> list[Text]:
    """All events, one line each; numbers that are missing show as a gap."""
    lines: list[Text] = []
    expected = events[0].n if events else 1
    since = events[0].at if events else None
    for event in events:
        if event.n > expected:
            lines.append(gap_text(expected, event.n - 1))
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
        f"attempt {row.attempt} of {row.max_attempts}" if row.max_attempts else "",
        f"epoch {row.epoch}" if row.epoch else "",
        f"version {safe_line(row.version, 24)}" if row.version else "",
        f"agent {safe_line(row.agent, 32)}" if row.agent else "",
        f"tags {safe_line(', '.join(row.tags), 80)}" if row.tags else "",
        f"key {safe_line(row.key, 40)}" if row.key else "",
        f"origin {safe_line(row.origin, 26)}" if row.origin else "",
    ]
    times = [f"made {age(row.created_at, now)} ago"]
    if row.started_at is not None:
        end = row.ended_at or now
        times.append(f"{'took' if row.ended_at else 'runs for'} "
                     f"{span((end - row.started_at).total_seconds())}")  # fmt: skip
    lines: list[RenderableType] = [
        first,
        _indented(" · ".join(f for f in facts if f)),
        _indented(" · ".join(times)),
    ]
    if detail.why:
        lines.append(_indented(f"why: {safe_line(detail.why, 500)}", style="bold"))
    return lines


def _indented(text: str, style: str = "") -> RenderableType:
    """Text that keeps its indent where it wraps."""
    return Padding(Text(text, style=style), (0, 0, 0, 2))


def error_lines(error: ErrorInfo) -> list[Text]:
    """An error with its traceback, indented."""
    lines = [Text(f"  {safe_line(error.type, 200)}: {safe_text(error.message)[:2000]}", "red")]
    lines += [Text(f"    {part}") for part in safe_text(error.traceback).splitlines()[-30:]]
    return lines


def checkpoints_table(rows: list[CheckpointRow]) -> RenderableType:
    """The checkpoints that are kept."""
    table = a_table("#", "NAME", "SIZE", "AT", "ATTEMPT", wide=1)
    for row in rows:
        table.add_row(
            str(row.number), cut(row.name), size(row.size), clock(row.at),
            str(row.epoch),
        )  # fmt: skip
    return table


def marks_table(rows: list[MarkRow]) -> RenderableType:
    """Recorded steps, once marks and waits."""
    table = a_table("KIND", "KEY", "STATUS", "FUNCTION", "ATTEMPT", wide=1)
    for row in rows:
        table.add_row(
            Text(safe_line(row.kind, 12)), cut(row.key),
            Text(safe_line(row.status, 14)), Text(safe_line(row.fn, 24)), str(row.epoch),
        )  # fmt: skip
    return table


def story(detail: RunDetail, now: datetime) -> RenderableType:
    """The whole run for `headway show`."""
    parts: list[RenderableType] = [*header(detail, now)]

    def section(title: str, *body: RenderableType) -> None:
        parts.extend([Text(), Text(title, style="bold"), *body])

    if detail.payload:
        section("Payload", Text(f"  {one_line(_body(bytes(detail.payload)), 400)}"))
    if detail.events:
        section("Timeline", *timeline(detail.events))
    if detail.checkpoints:
        section("Checkpoints", checkpoints_table(detail.checkpoints))
    if detail.marks:
        section("Recorded", marks_table(detail.marks))
    if detail.row.error is not None:
        section("Error", *error_lines(detail.row.error))
    if detail.result:
        section("Result", Text(f"  {one_line(_body(bytes(detail.result)), 2000)}"))
    elif detail.result_ref is not None:
        section(
            "Result", Text(f"  {size(detail.result_ref.size)}: headway result {detail.row.run}")
        )
    return Group(*parts)


def _body(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
