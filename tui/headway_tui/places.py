"""The screens that can be gone to from anywhere: below them lies the list of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

    from headway_tui.commands import Commands
    from headway_tui.model.jumps import Spot
    from headway_tui.screens.base import Pane


def _queues() -> type[Pane]:
    from headway_tui.screens.queues import QueuesScreen

    return QueuesScreen


def _dead() -> type[Pane]:
    from headway_tui.screens.dead import DeadScreen

    return DeadScreen


def _metrics() -> type[Pane]:
    from headway_tui.screens.metrics import MetricsScreen

    return MetricsScreen


SCREENS: dict[str, Callable[[], type[Pane]]] = {
    "queues": _queues, "dead": _dead, "metrics": _metrics,
}  # fmt: skip
"""By name; loaded when somebody goes there. The list of runs is where all of them end."""


def go(app: App[None], name: str = "") -> None:
    """Show a screen, in place of those above the list of runs; without a name the list itself."""
    kind = SCREENS[name]() if name else None
    if kind is not None and isinstance(app.screen, kind):
        return
    while len(app.screen_stack) > 1:
        app.pop_screen()
    if kind is not None:
        app.push_screen(kind())


def go_to(app: Commands, spot: Spot) -> bool:
    """Show again what was seen; False for a place that cannot be opened by its name."""
    if spot.place == "run":
        go(app)
        app.pane_screen.open_run(spot.what)
    elif spot.place == "runs":
        app.do_go_runs(spot.what or "*")
    elif spot.place == "replay":
        app.pane_screen.open_replay()
    elif spot.place in SCREENS:
        go(app, spot.place)
    else:
        return False
    return True
