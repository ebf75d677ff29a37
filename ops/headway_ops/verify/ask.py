"""What a check is asked to look at, and from which sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headway.ids import encode
from headway_engine.config import Config, PostgresConfig
from headway_ops.verify import standing
from headway_ops.verify.database import LAST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path


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
