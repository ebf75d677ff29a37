"""The streams of this engine's NATS: made at start, made again if they are gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import JetStreamRefused, jsapi
from headway.errors import NotReachable
from headway_engine import streams
from headway_engine.declared import work_consumer
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headway.bus import Connection
    from headway_engine.config import NatsConfig
    from headway_engine.credits import Place
    from headway_engine.declared import Limits


log = logging.getLogger("headway.engine")


class Broker:
    """What this engine has declared, and what it found."""

    def __init__(
        self,
        nc: Connection,
        config: NatsConfig,
        mode: str = "server",
        limits: Limits | None = None,
    ) -> None:
        """`mode`, `limits`: as `streams.ensure_streams`."""
        self._nc, self._config, self._mode, self._limits = nc, config, mode, limits
        self.facts: streams.Facts | None = None
        self.queues: set[Place] = set()
        """Queues whose consumer was made by us."""
        self.renewed: Callable[[], object] = lambda: None
        """Called when WORK is another stream than before: what was in it is gone."""

    @property
    def replicas(self) -> int:
        """Of each stream, as the settings say."""
        return self._config.replicas

    async def ensure(self) -> streams.Facts:
        """Create or update the streams; raises as `streams.ensure_streams`."""
        c, before, old = self._config, self.work_created, self.facts
        self.facts = await streams.ensure_streams(
            self._nc,
            self._mode,
            limits=self._limits,
            replicas=c.replicas,
            fsynced=c.fsynced,
            monitor_url=c.monitor_url,
        )
        for change in self.facts.changed if old else ():
            log.warning("put right, somebody changed it: %s", change)
        if self.durability == "lazy" and (old is None or old.durability != "lazy"):
            log.warning(
                "NATS acknowledges before it has fsynced: if its machine loses power, enqueues that"
                " were accepted and not recorded yet are lost; set `sync_interval: always`, and"
                " nats.monitor_url here (or nats.fsynced = true) so that it is seen"
            )
        elif old is not None and old.durability != self.durability:
            log.warning("NATS: accepted enqueues are %s now", self.durability)
        if before and self.work_created != before:
            log.warning("the stream WORK was made anew: what was dispatched is published again")
            self.renewed()
        return self.facts

    async def look(self) -> None:
        """Repair if WORK is gone, or is not the stream that we know; raises as `ensure`."""
        try:
            info = await jsapi(self._nc, f"STREAM.INFO.{subjects.WORK}")
        except JetStreamRefused:
            info = {}
        if str(info.get("created", "")) != self.work_created:
            await self.repair()

    async def repair(self, others: Iterable[Place] = ()) -> None:
        """Make what is gone again, give what was changed its settings back; raises as `ensure`.

        `others`: queues whose consumer another engine may have made.
        """
        await self.ensure()
        for ns, queue in self.queues.union(others):
            wanted = work_consumer(ns, queue)
            if what := await streams.ensure_consumer(self._nc, subjects.WORK, wanted):
                log.warning("put right, somebody changed it: consumer of queue %s: %s", queue, what)

    async def ensure_queue(self, ns: str, queue: str) -> None:
        """Make the queue's consumer, once; StoreDown (ask again) if NATS refuses just now."""
        if (ns, queue) in self.queues:
            return
        try:
            await streams.ensure_work_consumer(self._nc, ns, queue)
        except (NotReachable, JetStreamRefused) as e:
            raise StoreDown(f"the consumer of queue {queue} cannot be made: {e}") from None
        self.queues.add((ns, queue))

    @property
    def work_created(self) -> str:
        """When WORK was made: another time, and its sequences mean nothing."""
        return self.facts.created.get(subjects.WORK, "") if self.facts else ""

    @property
    def durability(self) -> str:
        """What *accepted* is worth on this NATS."""
        return self.facts.durability if self.facts else "lazy"
