"""Advice on a task as lines to read. Pure."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from headway.advice import facts
from headway.safe import safe_line
from headway_tui.model.details import WIDE
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway.advice import Advice


def of_advice(told: Advice) -> list[str]:
    """What follows from a task's last runs, then what was measured."""
    lines: list[str] = []
    for hint in told.hints:
        shown = f"{hint.words}   run {hint.run}" if hint.run else hint.words
        lines += [*wrap(safe_line(shown, 1000), WIDE), ""]
    lines += [f"{name:<28}  {safe(words, 200)}" for name, words in facts(told)]
    return lines
