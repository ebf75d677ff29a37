"""What each line of the bench must reach: one table, and the rules by which a line passes. Pure.

A limit is absolute, or a multiple of the raw limit that was measured beside the line.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Compare = Literal["<", "≤", "≥", "="]

_COMPARE: dict[Compare, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "≤": operator.le,
    "≥": operator.ge,
    "=": operator.eq,
}


class Rule(Struct, frozen=True):
    """One bound on one measured figure of a line."""

    figure: str
    """`p50`, `p99`, `value`, or the name of a figure in the line's detail."""
    compare: Compare
    limit: float
    unit: str = ""
    of_raw: bool = False
    """The limit counts raw limits: 4 = four times the raw one."""

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        """True if it is kept. What was not measured does not pass."""
        found = figures.get(self.figure)
        limit = self.limit
        if self.of_raw:
            raw = figures.get("raw")
            if raw is None:
                return False
            limit *= raw
        return found is not None and _COMPARE[self.compare](found, limit)

    def __str__(self) -> str:
        shown = f"{self.limit:,.10g}"
        end = " x raw" if self.of_raw else self.unit if self.unit.startswith("/") else ""
        if not end and self.unit:
            end = f" {self.unit}"
        name = "" if self.figure == "value" else f"{self.figure.replace('_', ' ')} "
        return f"{name}{self.compare} {shown}{end}"


class Target(Struct, frozen=True):
    """One line of the bench."""

    name: str
    what: str
    """For the table, at most 40 characters."""
    unit: str
    rules: tuple[Rule, ...]

    def met(self, figures: Mapping[str, float | None]) -> bool:
        """True if every rule holds. `figures`: p50, p99, value, raw and the detail's numbers."""
        return all(rule.holds(figures) for rule in self.rules)

    def missed(self, figures: Mapping[str, float | None]) -> tuple[Rule, ...]:
        """The rules that do not hold."""
        return tuple(rule for rule in self.rules if not rule.holds(figures))

    def __str__(self) -> str:
        return ", ".join(str(rule) for rule in self.rules)


TARGETS: tuple[Target, ...] = (
    Target(
        "save_1k",
        "checkpoint 1 KB, durable, one at a time",
        "ms",
        (Rule("p50", "≤", 4, of_raw=True), Rule("p99", "≤", 3, "ms")),
    ),
    Target(
        "save_1k_64",
        "checkpoints 1 KB, 64 runs at once",
        "/s",
        (Rule("value", "≥", 10_000, "/s"),),
    ),
    Target(
        "save_100k",
        "checkpoint 100 KB",
        "ms",
        (Rule("p50", "≤", 3, of_raw=True),),
    ),
    Target(
        "start_warm",
        "enqueue to user code, warm, idle",
        "ms",
        (Rule("p50", "<", 4, "ms"), Rule("p99", "<", 15, "ms")),
    ),
    Target(
        "result",
        "enqueue to result in hand",
        "ms",
        (Rule("p50", "<", 5, "ms"), Rule("p99", "<", 12, "ms")),
    ),
    Target(
        "throughput",
        "no-op runs end to end, shared",
        "/s",
        (Rule("value", "≥", 4_000, "/s"), Rule("single", "≥", 2_000, "/s")),
    ),
    Target(
        "enqueue_single",
        "enqueue, recorded, one at a time",
        "/s",
        (Rule("value", "≥", 900, "/s"),),
    ),
    Target(
        "enqueue_32",
        "enqueue, recorded, 32 in flight",
        "/s",
        (Rule("value", "≥", 4_000, "/s"),),
    ),
    Target(
        "enqueue_batch",
        "enqueue, recorded, batch call",
        "/s",
        (Rule("value", "≥", 30_000, "/s"),),
    ),
    Target(
        "recovery",
        "kill -9 to user code again",
        "s",
        (Rule("p50", "<", 0.5, "s"), Rule("steps_twice", "≤", 1)),
    ),
    Target(
        "due_2000",
        "2,000 runs due at one instant: lateness",
        "s",
        (Rule("p99", "<", 1, "s"), Rule("early", "=", 0)),
    ),
    Target(
        "first_result",
        "headway up to first result",
        "s",
        (Rule("value", "<", 3, "s"),),
    ),
    Target(
        "idle_pss",
        "idle stack without warm pool, memory",
        "MB",
        (Rule("value", "<", 170, "MB"), Rule("cpu_percent", "<", 2, "%")),
    ),
)

BY_NAME: dict[str, Target] = {t.name: t for t in TARGETS}
