"""What a check is asked to look at, and from which sources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from headway.ids import encode
from headway_engine.config import Config, PostgresConfig
from headway_ops.verify import standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path


LAST = "\x7f"
"""Above every run id in byte order."""
SUSPECTS = 10_000
"""Runs that get a second look, at most; the rest are believed at once."""
UNNAMED_AGE = timedelta(days=2)
"""Objects without a row are removed after a day, by a service that looks every six hours."""
INGEST_SKEW = timedelta(hours=2)
"""What waits in INGEST may name objects that are older than its message."""


class CannotLook(Exception):
    """The store cannot be read: nothing is known. The message says what and why."""


@dataclass(slots=True)
class Ask:
    """What to look at: `Ask(config)` with the engines' settings, `Ask(dsn)` for Postgres alone."""

    source: Config | str
    """Where Postgres, NATS and the blobs are: what the engines are started with. A DSN: Postgres
    alone, whatever `nats` and `blobs` say."""
    ns: str = ""
    """This namespace alone; empty = all."""
    run: str = ""
    """This run alone."""
    since: datetime | None = None
    """Runs made since then alone."""
    settled: bool = False
    """All should be at rest: nothing left but REVIEW, what waits for its time, held queues."""
    journals: Sequence[Path] = ()
    """Written by `headway.journal`."""
    ledgers: Sequence[Path] = ()
    """Written by the outside world; see `effects`."""
    nats: bool = True
    """Read RUNS, WORK and LOGS."""
    blobs: bool = True
    """Read what lies in blobs."""
    logs: bool = True
    """Read LOGS: it is the largest stream."""
    containers: bool = False
    """Ask this host's Docker."""
    grace: float = standing.GRACE
    """Seconds that a timer, a rescuer or a sweeper may be late."""
    second_look: float = 2.0
    """Seconds until what seems to stand still is looked at once more."""
    patience: float = 15.0
    """Seconds for which it is looked at again and again before it counts; not with `settled`."""

    def __post_init__(self) -> None:
        if isinstance(self.source, str):
            self.nats = self.blobs = False

    @property
    def whole(self) -> bool:
        """All runs are looked at, of all times."""
        return not self.run and self.since is None

    def unnamed_before(self, now: datetime, oldest: datetime | None) -> datetime:
        """Objects older than this must belong to a run; `oldest`: of what waits in INGEST."""
        before = now - UNNAMED_AGE
        return before if oldest is None else min(before, oldest - INGEST_SKEW)

    @property
    def config(self) -> Config:
        """The engines' settings."""
        source = self.source
        return Config(postgres=PostgresConfig(source)) if isinstance(source, str) else source

    def bounds(self) -> tuple[str, str]:
        """Ids above the first, up to the second."""
        if self.run:
            return self.run[:-1], self.run
        if self.since is not None:
            return encode(max(0, int(self.since.timestamp() * 1000)), 0), LAST
        return "", LAST

    def wants(self, run: str, ns: str = "") -> bool:
        """Is this run among those to look at?"""
        low, high = self.bounds()
        return (run == self.run if self.run else low < run <= high) and ns in ("", self.ns or ns)
