"""A figure beside its target, as it is printed."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct):
    """One figure."""

    what: str
    target: str
    measured: str
    ok: bool


def under(what: str, limit: float, value: float, unit: str = "s") -> Line:
    """It must stay below a limit."""
    return Line(what, f"< {limit:g} {unit}", f"{value:.3g} {unit}", ok=value < limit)


def note(what: str, measured: str) -> Line:
    """Without a target of its own: said beside the line above it."""
    return Line(f"... {what}", "", measured, ok=True)


def p(values: list[float], percent: float) -> float:
    """A percentile by the nearest rank; of few values the highest ones are the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(lines: list[Line]) -> str:
    """All of them."""
    wide = max(len(line.what) for line in lines) + 2
    out = [f"  {'what':<{wide}}{'target':>14}{'measured':>16}"]
    for line in lines:
        flag = "" if line.ok else "  <-"
        out.append(f"  {line.what:<{wide}}{line.target:>14}{line.measured:>16}{flag}")
    return "\n".join(out)
