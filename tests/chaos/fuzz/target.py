"""What a fuzz target is, and good bodies to begin with."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a dataclass field
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "unit" / "golden"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"
JSON_SEEDS = (
    b"null", b"true", b"-0", b"1e308", b"12345678901234567890", b'"text"', b'"\\ud800"', b"[]",
    b'{"a":1,"a":2}', b'{"$headway-json":"[1e999]"}', b'{"a":{"b":[{"c":[1,null]}]}}',
    b'"\\u0000"', b"[" * 400 + b"]" * 400,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One decoder."""

    name: str
    run: Callable[[bytes], object]
    declared: tuple[type[BaseException], ...] = ()
    seeds: tuple[bytes, ...] = JSON_SEEDS


def golden() -> dict[str, bytes]:
    """Struct name to the bytes that were agreed on, of all modules of the wire."""
    found: dict[str, bytes] = {}
    for file in sorted(GOLDEN.glob("*.txt")):
        for line in file.read_bytes().splitlines():
            name, _, body = line.partition(b" ")
            found[name.decode()] = body
    return found


AGREED = golden()
