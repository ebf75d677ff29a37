"""Spans that a runner dropped are counted by the numbers that are left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from headway.wire.events import Span
from headway.wire.frames import Spans
from headway_engine.agent.config import AgentConfig
from headway_engine.agent.redact import Redactor
from headway_engine.agent.spans import GAP, SpanRelay


def frame(first: int, count: int = 1) -> Spans:
    span = Span("0" * 31 + "1", "0" * 15 + "1", "s", 1, 2)
    return Spans(slot=0, first=first, spans=[span] * count)


@pytest.mark.parametrize(
    ("last", "frames", "dropped"),
    [
        (0, [frame(1, 3), frame(4)], 0),
        (0, [frame(3), frame(4, 2), frame(10)], 6),
        (-1, [frame(500), frame(503)], 2),  # adopted: what was before is not known
        (0, [frame(5), frame(2), frame(6)], 4),  # a number that comes late opens no gap
        (0, [frame(2**40)], GAP),
    ],
)
def test_a_jump_of_the_numbers_counts_as_dropped(
    last: int, frames: list[Spans], dropped: int
) -> None:
    sent: list[Any] = []
    relay = SpanRelay(AgentConfig(state_dir="s"), lambda: 0.0, sent.extend, Redactor([]))
    assignment = SimpleNamespace(task="t")
    attempt: Any = SimpleNamespace(
        last_span=last, spans_lost=0, run="r", epoch=1, assignment=assignment
    )
    worker: Any = SimpleNamespace(slots={0: attempt}, redactor=None)
    for one in frames:
        relay.add(worker, one)
    assert relay.dropped == dropped
    assert relay.taken == sum(len(f.spans) for f in frames)
    assert len(sent) == len(frames)
