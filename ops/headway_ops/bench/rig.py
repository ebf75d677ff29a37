"""What a measurement works with: the running stack, a client, the raw limits, progress."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from headway_ops.bench.procs import Meter
from headway_ops.bench.report import Measured, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from headway.client import Client
    from headway.wire.events import Event
    from headway_ops.bench.raw import RawJetStream, RawPostgres
    from headway_ops.bench.stack import Stack

Say = Callable[[str], None]
"""Hears one line about what is being measured."""


class Rig:
    """The stack under measurement, and the raw limits of the same servers."""

    def __init__(
        self, stack: Stack, client: Client, db: RawPostgres, jetstream: RawJetStream, say: Say
    ) -> None:
        self.stack, self.client = stack, client
        self.db, self.jetstream = db, jetstream
        self.say = say

    @property
    def folder(self) -> Path:
        """A scratch folder that goes with the stack."""
        return self.stack.folder

    def meter(self) -> Meter:
        """CPU seconds by part of the stack, from now on."""
        return Meter(self.stack.parts())

    async def events(self, run: str) -> list[Event]:
        """The committed events of a run, in order."""
        return (await self.client.run(run)).events


class Group(NamedTuple):
    """Lines that are measured together."""

    names: tuple[str, ...]
    measure: Callable[[Rig], Awaitable[dict[str, Measured]]]
    seconds: float
    """After that long it is given up."""


def cpu_stages(
    spent: Sequence[Mapping[str, float]], counts: Sequence[int], per: str
) -> list[Stage]:
    """Median CPU milliseconds per operation of each part, largest first; zeros left out."""
    parts = {name for look in spent for name in look}
    stages = [
        Stage(
            f"CPU per {per}: {name}",
            statistics.median(
                look.get(name, 0.0) * 1e3 / max(1, count)
                for look, count in zip(spent, counts, strict=True)
            ),
            "ms",
        )
        for name in parts
    ]
    return sorted((s for s in stages if s.amount > 0), key=lambda s: -s.amount)
