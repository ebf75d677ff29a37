"""From figures to what is printed: judged lines, the table, the breakdown of what missed. Pure."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from headway_ops.bench.targets import BY_NAME, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

Figure = float | int | str | None


class Stage(Struct, frozen=True):
    """One part of where a line's time went."""

    name: str
    amount: float
    unit: str
    """`ms` of the path, `ms CPU` per operation, `%` of a core ..."""


class Measured(Struct):
    """What a line's measurement hands over; `judged` makes a Line of it."""

    p50: float | None = None
    p99: float | None = None
    value: float | None = None
    raw: float | None = None
    raw_of: str = ""
    """What the raw limit is, in words."""
    ratio: float | None = None
    detail: dict[str, Figure] = {}
    stages: list[Stage] = []
    error: str = ""
    """The line could not be measured: why."""


class Line(Struct):
    """One line of the report; its JSON is what `--json` prints."""

    name: str
    unit: str
    p50: float | None
    p99: float | None
    value: float | None
    raw: float | None
    ratio: float | None
    target: str
    ok: bool
    raw_of: str
    detail: dict[str, Figure]
    stages: list[Stage]
    error: str


def _figures(measured: Measured) -> dict[str, float | None]:
    numbers = {k: v for k, v in measured.detail.items() if isinstance(v, int | float)}
    return {
        **numbers,
        "p50": measured.p50,
        "p99": measured.p99,
        "value": measured.value,
        "raw": measured.raw,
    }


def judged(name: str, measured: Measured) -> Line:
    """The line of that name, held against its target; an error never passes."""
    target = BY_NAME[name]
    return Line(
        name=name,
        unit=target.unit,
        p50=measured.p50,
        p99=measured.p99,
        value=measured.value,
        raw=measured.raw,
        ratio=measured.ratio,
        target=str(target),
        ok=not measured.error and target.met(_figures(measured)),
        raw_of=measured.raw_of,
        detail=measured.detail,
        stages=measured.stages,
        error=measured.error,
    )


def missed_rules(line: Line) -> tuple[Rule, ...]:
    """Which rules of its target the line does not keep."""
    numbers = {k: v for k, v in line.detail.items() if isinstance(v, int | float)}
    return BY_NAME[line.name].missed(
        {**numbers, "p50": line.p50, "p99": line.p99, "value": line.value, "raw": line.raw}
    )


def as_data(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Plain data for JSON, numbers rounded to what was measured (four digits)."""
    return [_rounded(to_builtins(line)) for line in lines]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_rounded(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def number(value: float | None) -> str:
    """Short and readable: `0.42`, `12.3`, `11,204`; a dash for nothing."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(lines: Sequence[Line]) -> Table:
    """The lines as a table that fits 80 columns."""
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    out.add_column("line", no_wrap=True)
    for head in ("p50 / p99", "raw", "ratio"):
        out.add_column(head, justify="right", no_wrap=True)
    out.add_column("target", overflow="fold")
    out.add_column("", no_wrap=True)
    for line in lines:
        mark = "error" if line.error else "ok" if line.ok else "missed"
        out.add_row(
            line.name,
            found(line),
            number(line.raw),
            number(line.ratio),
            line.target,
            Text(mark, style="green" if line.ok else "bold red"),
        )
    return out


def found(line: Line) -> str:
    """What was measured, with its unit: `0.98 / 2.4 ms`, `10,412/s`; a dash for nothing."""
    unit = line.unit if line.unit.startswith("/") else f" {line.unit}"
    if line.value is not None:
        return number(line.value) + unit
    if line.p50 is None:
        return "-"
    return f"{number(line.p50)} / {number(line.p99)}{unit}"


def story(line: Line) -> Group:
    """Of a line that missed: which rule, its other figures, and where the time went."""
    parts: list[RenderableType] = []
    rules = "; ".join(str(rule) for rule in missed_rules(line))
    head = "was not measured" if line.error else f"missed: {rules}"
    parts.append(Text(f"{line.name} {head}", style="bold"))
    if line.error:
        parts.append(Text(f"  {line.error}"))
    if line.raw is not None:
        parts.append(Text(f"  raw limit {number(line.raw)} {line.unit}: {line.raw_of}"))
    parts += [Text(f"  {s.name:<44} {number(s.amount):>8} {s.unit}") for s in line.stages]
    if line.detail:
        shown = ", ".join(f"{k} {_shown(v)}" for k, v in line.detail.items())
        parts.append(Text(f"  also: {shown}"))
    return Group(*parts)


def _shown(value: Figure) -> str:
    return value if isinstance(value, str) else number(value)


def report(lines: Sequence[Line]) -> Group:
    """The whole answer for people: the table, then each line that missed."""
    parts: list[RenderableType] = [table(lines)]
    for line in lines:
        if not line.ok:
            parts += [Text(""), story(line)]
    met = sum(line.ok for line in lines)
    parts += [Text(""), Text(f"{met} of {len(lines)} targets met")]
    return Group(*parts)


def path_stages(marks: Sequence[tuple[str, Sequence[float]]], unit: str = "ms") -> list[Stage]:
    """Stages of a path from timestamps: `marks` are points in order, each with a time per sample.

    A stage is named after the point at which it ends; its amount is the median over the samples.
    Samples that lack a point must be left out by the caller: all lists are equally long.
    """
    out: list[Stage] = []
    for (_, before), (name, after) in itertools.pairwise(marks):
        taken = [b - a for a, b in zip(before, after, strict=True)]
        if taken:
            out.append(Stage(name, statistics.median(taken), unit))
    return out
