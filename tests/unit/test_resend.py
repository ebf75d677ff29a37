"""Output that is sent once more after an outage, and readers that know what they have."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from headway.lines import LineNumbers
from headway.wire.events import LogChunk
from headway_engine.agent.resend import Resend

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Monotonic."""
        return self.now


def some(*numbers: int) -> list[tuple[str, bytes]]:
    return [("s", str(n).encode()) for n in numbers]


def test_what_was_said_lately_and_during_the_outage_comes_again_in_order() -> None:
    clock = Clock()
    kept = Resend(clock, seconds=5.0)
    kept.add(some(1))
    clock.now += 6.0
    kept.add(some(2, 3))
    kept.lost()
    clock.now += 60.0
    kept.add(some(4))
    assert (kept.take(2), kept.away) == (some(2, 3), True)
    kept.add(some(5))  # said while it is being sent
    assert kept.take(2) == some(4, 5)
    assert (kept.take(2), kept.away) == ([], False)


def test_a_link_that_is_lost_again_begins_anew() -> None:
    kept = Resend(Clock())
    kept.lost()
    kept.add(some(1, 2, 3))
    assert kept.take(2) == some(1, 2)
    kept.lost()
    assert kept.take(9) == some(1, 2, 3)


def test_of_a_long_outage_the_oldest_is_given_up() -> None:
    kept = Resend(Clock(), limit=7)
    kept.lost()
    kept.add(some(1, 2, 3, 4))
    assert kept.take() == some(2, 3, 4)
    kept.add(some(5, 6, 7, 8))
    assert kept.take() == some(6, 7, 8)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.data())
def test_chunks_that_come_again_are_known_and_nothing_else_is(
    sizes: list[int], data: st.DataObject
) -> None:
    chunks: list[LogChunk] = []
    first = 1
    for size in sizes:
        chunks.append(LogChunk(first, ["x"] * size, AT))
        first += size
    # The server has lost some of the last ones; all since some earlier one come again.
    stored = data.draw(st.integers(0, len(chunks)))
    since = data.draw(st.integers(0, stored))
    numbers = LineNumbers()
    seen = [
        c.first for c in [*chunks[:stored], *chunks[since:]] if numbers.missing(1, c) is not None
    ]
    assert seen == [c.first for c in chunks]
    assert numbers.next == {1: first}
