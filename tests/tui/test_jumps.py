"""Back and forth among the places where the reader was."""

from __future__ import annotations

from headway_tui.model.jumps import KEPT, Jumps, Spot
from support.consoles import console, show

A, B, C, D = Spot("runs"), Spot("run", "1"), Spot("dead"), Spot("runs", "status:failed")


def walked(*spots: Spot) -> Jumps:
    jumps = Jumps()
    for spot in spots:
        jumps.visited(spot)
    return jumps


def test_back_and_on_walk_the_way_that_was_gone() -> None:
    jumps = walked(A, B, C)
    assert [jumps.step(-1), jumps.step(-1), jumps.step(-1)] == [B, A, None]
    assert [jumps.step(1), jumps.step(1), jumps.step(1)] == [B, C, None]


def test_going_elsewhere_forgets_what_lay_ahead() -> None:
    jumps = walked(A, B, C)
    jumps.step(-1)
    jumps.visited(D)
    assert jumps.step(1) is None
    assert jumps.step(-1) == B


def test_a_step_by_another_key_is_a_step() -> None:
    jumps = walked(A, B)
    jumps.visited(A)  # by esc
    assert jumps.step(1) == B


def test_the_last_place_is_the_one_before_whichever_way_it_was_left() -> None:
    jumps = walked(A, B, C)
    assert jumps.last() == B
    jumps.visited(B)
    assert jumps.last() == C
    jumps.step(-1)
    assert jumps.last() == B


def test_staying_is_no_step_and_the_way_has_an_end() -> None:
    jumps = walked(A, A, A)
    assert (jumps.step(-1), jumps.last()) == (None, None)
    jumps = walked(*(Spot("run", str(n)) for n in range(KEPT * 2)))
    steps = 0
    while jumps.step(-1):
        steps += 1
    assert steps == KEPT - 1


async def test_keys_walk_among_screens_and_filters() -> None:
    async with console() as (app, pilot):
        first = app.screen

        async def pressed(*keys: str) -> str:
            await pilot.press(*keys)
            await show(app, pilot)
            spot = app.pane_screen.spot()
            return f"{spot.place} {spot.what}".strip()

        assert await pressed("/", *"status:failed", "enter") == "runs status:failed"
        assert await pressed("4") == "dead"
        assert await pressed("5") == "metrics"
        assert await pressed("ctrl+o") == "dead"
        assert await pressed("ctrl+o") == "runs status:failed"
        assert await pressed("ctrl+o") == "runs"
        assert app.screen is first
        assert await pressed("alt+right", "alt+right") == "dead"
        assert await pressed("alt+left") == "runs status:failed"
        assert await pressed("-") == "dead"
        assert await pressed("-") == "runs status:failed"
