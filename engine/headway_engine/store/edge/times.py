"""Times as the projection keeps them: whole microseconds since the Unix epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import overload

TOMBSTONES = timedelta(days=30)
"""So long the id of a removed run is kept: an old enqueue that comes again does not run again."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@overload
def us(at: datetime) -> int: ...
@overload
def us(at: datetime | None) -> int | None: ...
def us(at: datetime | None) -> int | None:
    """The number of a time; None stays None."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND


@overload
def moment(number: int) -> datetime: ...
@overload
def moment(number: int | None) -> datetime | None: ...
def moment(number: int | None) -> datetime | None:
    """The time of a number; None stays None."""
    return None if number is None else _EPOCH + timedelta(microseconds=number)


def us_of(span: timedelta) -> int:
    """Microseconds of a span."""
    return span // _MICROSECOND
