"""Lines of output that are missing: how many, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headway.lines import missing_words
from headway.wire.events import LogChunk


@pytest.mark.parametrize(
    ("count", "dropped", "limit", "words"),
    [
        (8740, 8740, 262_144, "8,740 lines missing: over the agent's log_rate, 256 KiB/s"),
        (1, 1, 0, "1 line missing: over the agent's log_rate"),
        (10, 4, 0, "10 lines missing: 4 over the agent's log_rate"),
        (10, 0, 0, "10 lines missing: not in LOGS"),
    ],
)
def test_missing_lines_say_why(count: int, dropped: int, limit: int, words: str) -> None:
    chunk = LogChunk(11, [], datetime(2026, 1, 2, tzinfo=UTC), dropped=dropped, limit=limit)
    assert missing_words(count, chunk) == words
