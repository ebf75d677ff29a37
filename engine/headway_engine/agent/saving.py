"""Checkpoints and marks on their way from a runner to the engine, large bodies first to blobs."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from headway import faults
from headway.wire import CHECKPOINT_LIMIT, STEP_LIMIT, BlobRef, encode
from headway.wire.frames import Ack, Checkpoint, Mark, Usage
from headway.wire.saves import SaveCheckpoint, SaveMark, SaveOutcome, SaveUsage
from headway_engine.agent.bodies import BadParts, BlobRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway_engine.agent.attempt import Attempt
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.worker import Worker

log = logging.getLogger("headway.agent")


class Saving:
    """Saves of one agent's attempts: stamped with run and epoch, queued, answered."""

    def __init__(self, attempts: Attempts) -> None:
        self._a = attempts

    def save(self, worker: Worker, frame: Checkpoint | Mark) -> None:
        """One save frame, unless it came before."""
        attempt = self._a.attempt_of(worker, frame.slot, frame.seq)
        if attempt is None or worker.seen(frame.seq):
            return
        body = frame.state if isinstance(frame, Checkpoint) else frame.value
        if frame.blob:
            limit = CHECKPOINT_LIMIT if isinstance(frame, Checkpoint) else STEP_LIMIT
            self.upload(worker, attempt, frame, limit, self._save_it)
        elif flaw := self._a.flaw_of(body):
            self._a.violation(worker, flaw, attempt)
        else:
            self._save_it(worker, attempt, frame, None)

    def _save_it(
        self, worker: Worker, attempt: Attempt, frame: Checkpoint | Mark, ref: BlobRef | None
    ) -> None:
        if faults.armed:
            faults.here("agent.save.received")
        done = partial(self._saved, worker, attempt, frame)
        if isinstance(frame, Checkpoint):
            save: SaveCheckpoint | SaveMark = SaveCheckpoint(
                attempt.run, attempt.epoch, frame.number, frame.name, frame.sha256, frame.size,
                frame.state, ref, frame.schema, frame.keep,
            )  # fmt: skip
            size = len(bytes(frame.state))
        else:
            error = self._a.ending.clean(worker, frame.error) if frame.error is not None else None
            save = SaveMark(
                attempt.run, attempt.epoch, frame.key, frame.kind, frame.fn, frame.status,
                frame.token, frame.value, ref, frame.size, frame.seconds, error, frame.after,
            )  # fmt: skip
            size = len(bytes(frame.value)) + 1000 + (0 if error is None else len(encode(error)))
        self.in_turn(attempt, partial(self._a.uplink.save, attempt.engine, save, size, done))

    def used(self, worker: Worker, frame: Usage) -> None:
        """What an attempt has used, unless it came before. Asks for no turn: it moves nothing."""
        attempt = self._a.attempt_of(worker, frame.slot, frame.seq)
        if attempt is None or worker.seen(frame.seq):
            return
        save = SaveUsage(attempt.run, attempt.epoch, frame.used)

        def done(outcome: SaveOutcome) -> None:
            if outcome.outcome != "ok":
                log.warning("%s: its usage was not recorded: %s", attempt.run, outcome.message)
            # Whatever the store says of it: the attempt goes on.
            worker.answer(Ack(attempt.slot, frame.seq))

        self._a.uplink.save(attempt.engine, save, 200 * len(frame.used), done)

    def in_turn(self, attempt: Attempt, send: Callable[[], None]) -> None:
        """Now, or when `started` is committed."""
        self._a.starting.before(attempt)
        if attempt.held is not None:
            attempt.held.append(send)
        else:
            send()

    def release(self, attempt: Attempt) -> None:
        """`started` is committed: what waited for it goes out, in order."""
        held, attempt.held = attempt.held or [], None
        for send in held:
            send()

    def _saved(
        self, worker: Worker, attempt: Attempt, frame: Checkpoint | Mark, outcome: SaveOutcome
    ) -> None:
        if faults.armed:
            faults.here("agent.save.answered")
        ack = Ack(attempt.slot, frame.seq, outcome.outcome, outcome.message)
        if outcome.outcome == "gap":
            log.warning(
                "%s: the store lost checkpoints that it had acknowledged: %s",
                attempt.run,
                outcome.message,
            )
            ack.number = outcome.n
        worker.answer(ack)
        if outcome.outcome == "stale_epoch":
            self._a.stopping.stop(attempt, "stale")
        elif isinstance(frame, Checkpoint) and outcome.outcome == "ok":
            self._a.stopping.saved(attempt)

    def upload(
        self,
        worker: Worker,
        attempt: Attempt,
        frame: Any,
        limit: int,
        then: Callable[[Worker, Attempt, Any, BlobRef], None],
    ) -> None:
        """Store a large body, then go on with its reference."""
        try:
            parts = worker.bodies.take(frame.blob)
        except BadParts as e:
            self._a.violation(worker, str(e), attempt)
            return
        if sum(len(p) for p in parts) > limit:
            worker.answer(Ack(frame.slot, frame.seq, "rejected", f"over {limit:,} bytes"))
            return
        self._a.spawn(self._carry(worker, attempt, frame, parts, then))

    async def _carry(
        self,
        worker: Worker,
        attempt: Attempt,
        frame: Any,
        parts: list[bytes],
        then: Callable[[Worker, Attempt, Any, BlobRef], None],
    ) -> None:
        try:
            ref = await self._a.carrier.put(attempt.run, attempt.epoch, attempt.engine, parts)
        except BlobRefused as e:
            worker.answer(Ack(frame.slot, frame.seq, e.outcome, str(e)))
            if e.outcome == "stale_epoch":
                self._a.stopping.stop(attempt, "stale")
        else:
            then(worker, attempt, frame, ref)
