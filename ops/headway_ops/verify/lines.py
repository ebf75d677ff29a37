"""Files of JSON lines that processes may have died over: what reads, and how much does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")


class Lines(Generic[T]):
    """The lines of some files, one after the other; iterating raises OSError.

    `bad` counts those that did not read, or did not fit, so far.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        decoder: msgspec.json.Decoder[T],
        fits: Callable[[T], bool] = lambda _line: True,
    ) -> None:
        self._paths, self._decoder, self._fits = paths, decoder, fits
        self.bad = 0

    def __iter__(self) -> Iterator[T]:
        for path in self._paths:
            with path.open("rb") as file:
                for raw in file:
                    try:
                        line = self._decoder.decode(raw)
                    except msgspec.DecodeError:
                        self.bad += 1
                        continue
                    if self._fits(line):
                        yield line
                    else:
                        self.bad += 1
