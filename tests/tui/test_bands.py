"""The line over everything else: the worst trouble, for how long, and what goes on meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headway_tui.model.bands import Facts, band_of

FINE = Facts(datetime(2026, 1, 2, 12, 42, 31, tzinfo=UTC), agents=(14, 14), open=37)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"connected": False, "seconds": 4.0},
         "NATS LINK LOST 12:42:27 (4.0s)   trying again   ctrl+r now   what is shown was true then"
         "   writes are refused"),
        ({"silent": 6.0},
         "ENGINE SILENT 6.0s   no heartbeat from any engine   agents 14/14 alive"
         "   runs continue until their next checkpoint"),
        ({"store_ok": False, "store_for": 41.0},
         "POSTGRES DOWN (41.0s)   running tasks hold at their next checkpoint (37 runs)"
         "   new runs wait in NATS"),
        ({"store_ok": False, "store_for": 2.0, "edge": True}, "JETSTREAM DOWN (2.0s)   running"),
        ({"behind": 3.1}, "BEHIND 3.1s   this terminal is slow"),
        ({"connected": False, "ever": False, "tries": 3, "trouble": "refused\x1b[2J"},
         "NO NATS LINK   try 3   refused\\x1b[2J"),
        ({"trouble": "your NATS user may not read x"}, "your NATS user may not read x"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_words(change: dict[str, object], words: str) -> None:
    assert band_of(FINE._replace(**change)).words.startswith(words)  # pyright: ignore[reportArgumentType]


def test_without_trouble_there_is_none() -> None:
    assert band_of(FINE).kind == "none"
    assert band_of(FINE._replace(store_ok=None, behind=0.05)).kind == "none"
    assert band_of(FINE._replace(connected=False, ever=False)).kind == "none"


def test_the_worst_is_said_first() -> None:
    worse = FINE._replace(behind=3.0)
    order = [worse.behind and band_of(worse).words.split()[0]]
    for change in ({"store_ok": False}, {"silent": 9.0}, {"connected": False}):
        worse = worse._replace(**change)  # pyright: ignore[reportArgumentType]
        order.append(band_of(worse).words.split()[0])
    assert order == ["BEHIND", "POSTGRES", "ENGINE", "NATS"]
