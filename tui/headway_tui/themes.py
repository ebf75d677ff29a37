"""Own themes and the colours of roles. A role always has shape and word beside its colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES: dict[str, dict[str, str]] = {
    "headway-dark": {
        "text": "#d8dee9", "muted": "#8d99ab", "info": "#6cb6ff", "wait": "#56d4dd",
        "warning": "#e3b341", "review": "#ffa657", "good": "#57ab5a", "bad": "#ff7b72",
        "bad-soft": "#f0938a", "mark": "#dcbdfb", "accent": "#6cb6ff", "back": "#11161d",
        "panel": "#1b222c",
    },
    "headway-light": {
        "text": "#1f2328", "muted": "#59636e", "info": "#0550ae", "wait": "#0e6770",
        "warning": "#7d4e00", "review": "#953800", "good": "#116329", "bad": "#a40e26",
        "bad-soft": "#b3261e", "mark": "#6639ba", "accent": "#0550ae", "back": "#ffffff",
        "panel": "#eef1f4",
    },
    "headway-cb": {
        "text": "#e6e6e6", "muted": "#a0a0a0", "info": "#56b4e9", "wait": "#9ad0f5",
        "warning": "#f0e442", "review": "#e69f00", "good": "#2bc4a0", "bad": "#ff8c42",
        "bad-soft": "#e8935a", "mark": "#e3a5cb", "accent": "#56b4e9", "back": "#101010",
        "panel": "#202020",
    },
    "headway-mono": {
        "text": "#dddddd", "muted": "#9a9a9a", "info": "#dddddd", "wait": "#dddddd",
        "warning": "#ffffff", "review": "#ffffff", "good": "#dddddd", "bad": "#ffffff",
        "bad-soft": "#ffffff", "mark": "#dddddd", "accent": "#ffffff", "back": "#000000",
        "panel": "#1c1c1c",
    },
}  # fmt: skip
"""Colour-blind: blue, yellow, orange and blue-green, which stay apart for all common kinds."""
_BOLD = frozenset({"bad", "review"})


def theme(name: str) -> Theme:
    """One of ours for Textual."""
    c = ROLES[name]
    return Theme(
        name, primary=c["accent"], secondary=c["mark"], warning=c["warning"], error=c["bad"],
        success=c["good"], accent=c["accent"], foreground=c["text"], background=c["back"],
        surface=c["back"], panel=c["panel"], dark=name != "headway-light",
        variables={"border": c["muted"], "border-blurred": c["panel"], "muted": c["muted"]},
    )  # fmt: skip


def roles_of(made: Theme) -> Mapping[str, str]:
    """The colours of roles in any theme; those of Textual give theirs by their closest use."""
    if made.name in ROLES:
        return ROLES[made.name]
    base = ROLES["headway-dark" if made.dark else "headway-light"]
    given = {
        "text": made.foreground, "info": made.primary, "warning": made.warning,
        "good": made.success, "bad": made.error, "accent": made.accent, "back": made.background,
        "panel": made.panel,
    }  # fmt: skip
    return base | {k: v for k, v in given.items() if v and v.startswith("#")}


class Palette:
    """Styles by role, made once for a theme."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self._styles = {k: Style(color=v, bold=k in _BOLD) for k, v in roles.items()}
        self.band = Style(color=roles["back"], bgcolor=roles["warning"], bold=True)
        self.alarm = Style(color=roles["back"], bgcolor=roles["bad"], bold=True)
        self.cursor = Style(bgcolor=roles["panel"], bold=True)
        self.flaw = Style(color=roles["bad"], bold=True, underline=True)
        self.chosen = Style(color=roles["accent"], bold=True, reverse=True)
        self.hit = Style(color=roles["back"], bgcolor=roles["warning"])
        self.key = Style(color=roles["accent"], bold=True)

    def __getitem__(self, role: str) -> Style:
        return self._styles[role]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG counts it: 1 to 21."""

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def known() -> list[str]:
    """Names of all themes, ours first."""
    return [*ROLES, *sorted(BUILTIN_THEMES)]
