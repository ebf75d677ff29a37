"""Output of all attempts: from log frames to chunks that are published together."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headway_engine.agent.logs import Bucket, LogStream
from headway_engine.agent.redact import NO_SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.frames import Log
    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.worker import Worker

FLUSH_AFTER = 0.05
"""Seconds that lines wait for more."""


class Outputs:
    """Collects what attempts print; `publish` gets (run, epoch, body) of whole chunks."""

    def __init__(
        self,
        config: AgentConfig,
        clock: Callable[[], float],
        publish: Callable[[list[tuple[str, int, bytes]]], None],
    ) -> None:
        self._config, self._clock, self._publish = config, clock, publish
        self._dirty: dict[tuple[str, int], LogStream] = {}
        self._chunks: list[tuple[str, int, bytes]] = []
        self._flush_logs: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.lines = self.dropped = 0
        """Lines of all attempts since the start: taken, and dropped."""

    def end(self, attempt: Attempt) -> None:
        """Its last lines go out now."""
        if attempt.log is not None:
            attempt.log.flush(final=True)
            self._dirty.pop((attempt.run, attempt.epoch), None)

    def add(self, worker: Worker, frame: Log) -> None:
        """Lines of a worker: of one of its runs, or of nobody in particular (slot 0)."""
        attempt = worker.slots.get(frame.slot)
        if attempt is None:
            if frame.slot != 0 or not worker.slots:
                return  # of a run that ended, or of nobody
            attempt = next(iter(worker.slots.values()))
            frame.stream = "process" if len(worker.slots) > 1 else frame.stream
        stream = attempt.log
        now = self._clock()
        if stream is None:
            redactor = worker.redactor or NO_SECRETS
            bucket = Bucket(2 * self._config.log_rate, 2 * self._config.log_burst, now)
            stream = attempt.log = LogStream(
                redactor, bucket, partial(self._chunk, attempt.run, attempt.epoch),
                self._config.log_rate,
            )  # fmt: skip
        self.lines += len(frame.lines)
        before = stream.dropped
        stream.add(frame, now)
        self.dropped += stream.dropped - before
        self._dirty[(attempt.run, attempt.epoch)] = stream
        self._schedule_logs()

    def _chunk(self, run: str, epoch: int, body: bytes) -> None:
        self._chunks.append((run, epoch, body))
        self._schedule_logs()

    def _schedule_logs(self) -> None:
        if self._flush_logs is None:
            self._flush_logs = self._loop.call_later(FLUSH_AFTER, self._flush_all)

    def _flush_all(self) -> None:
        self._flush_logs = None
        dirty, self._dirty = self._dirty, {}
        for key, stream in dirty.items():
            stream.flush()
            if stream.waiting:
                self._dirty[key] = stream
        chunks, self._chunks = self._chunks, []
        if self._flush_logs is None and self._dirty:
            self._schedule_logs()
        if chunks:
            self._publish(chunks)
