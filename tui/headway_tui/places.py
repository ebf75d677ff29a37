"""The screens that can be gone to from anywhere: below them lies the list of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.metrics import MetricsScreen
from headway_tui.screens.queues import QueuesScreen

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp
    from headway_tui.screens.base import Pane

SCREENS: dict[str, type[Pane]] = {
    "queues": QueuesScreen, "dead": DeadScreen, "metrics": MetricsScreen,
}  # fmt: skip
"""By name; the list of runs is where all of them end."""


def go(app: HeadwayApp, name: str = "") -> None:
    """Show a screen, in place of those above the list of runs; without a name the list itself."""
    kind = SCREENS.get(name)
    if kind is not None and isinstance(app.screen, kind):
        return
    while len(app.screen_stack) > 1:
        app.pop_screen()
    if kind is not None:
        app.push_screen(kind())
