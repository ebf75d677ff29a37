"""After a restart: the runners that still live are taken over, the rest is reported and removed.

The journal decides which run is in which slot of which runner, never the runner's own word; a
runner that says otherwise is ended. It has to happen within the lease: later the store has given
the runs to somebody else, and the epoch refuses whatever the old runner writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from headway.wire import PROTOCOL
from headway.wire.rpc import Assignment
from headway_engine.agent.attempt import Attempt
from headway_engine.agent.plans import NotAllowed, Plans
from headway_engine.agent.provider import NotProvided, Provider
from headway_engine.agent.verdict import Ended
from headway_engine.agent.worker import Worker
from headway_engine.runtime import Grant, Handle, Runtime, RuntimeUnavailable

if TYPE_CHECKING:
    from headway_engine.agent.attempts import Attempts
    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.conns import Endpoints
    from headway_engine.agent.journal import Entry, FileJournal, Saved
    from headway_engine.agent.pool import Pool

log = logging.getLogger("headway.agent")

HELLO_TIMEOUT = 3.0
"""Seconds in which a living runner dials again; it tries every 20 ms."""


async def adopt(
    config: AgentConfig,
    runtime: Runtime,
    endpoints: Endpoints,
    provider: Provider,
    pool: Pool,
    attempts: Attempts,
    plans: Plans,
    journal: FileJournal,
    saved: Saved,
) -> list[Worker]:
    """Take over what an earlier agent left; gives the workers whose runs are held now.

    Their attempts are in `attempts.live` when this returns, so that the registration can name them;
    `settle` must be called after it.
    """
    for known in saved.known.values():
        plans.learn_version(known.info)
        plans.learn_spec(known.version, known.spec)
    entries: dict[str, list[Entry]] = {}
    for entry in saved.entries.values():
        entries.setdefault(entry.worker, []).append(entry)
    try:
        handles = await runtime.list_all(pool.owner)
    except RuntimeUnavailable as e:
        log.warning("cannot look for runners of an earlier agent: %s", e)
        handles = None
    workers: list[Worker] = []
    for handle in handles or []:
        mine = entries.get(handle.name, [])
        grant = _grant(handle, saved)
        if mine and not endpoints.fits(grant):
            # It dials where nobody listens any more: gone, and its runs lost.
            log.warning("%s dials a channel that is no more: it is ended", handle.name)
            await runtime.remove(handle)
            continue
        entries.pop(handle.name, None)
        worker = _worker(mine, handle, attempts, plans) if mine else None
        if worker is None:
            await runtime.remove(handle)
            for entry in mine:
                journal.drop(entry.run, entry.epoch)
            continue
        await _bind(worker, handle, grant, mine, runtime, endpoints, provider, pool)
        workers.append(worker)
    if handles is not None:
        await asyncio.to_thread(endpoints.sweep)
    for lost in entries.values():
        # Its runner is not there any more: reported as lost after the registration.
        worker = _worker(lost, Handle("", lost[0].worker, pool.owner), attempts, plans)
        if worker is not None:
            worker.handle = None
            worker.ended = Ended()
            workers.append(worker)
    if workers:
        log.info("%d runners of an earlier agent found", len(workers))
    return workers


def _worker(
    entries: list[Entry], handle: Handle, attempts: Attempts, plans: Plans
) -> Worker | None:
    """The worker with its attempts as the journal has them; None for a version unknown here."""
    try:
        plan = plans.get(entries[0].version, entries[0].task)
    except NotAllowed:
        return None
    if handle.id and handle.protocol != PROTOCOL:
        return None
    now = attempts.clock()
    worker = Worker(attempts, plan, handle.name, now)
    worker.handle, worker.adopted, worker.cold = handle, True, False
    for entry in entries:
        assignment = Assignment(
            run=entry.run,
            epoch=entry.epoch,
            task=entry.task,
            version=entry.version,
            attempt=0,
            checkpoint=entry.checkpoint,
            timeout=entry.timeout,
        )
        attempt = Attempt(assignment, plan, entry.engine, now, last_span=-1)
        attempt.worker, attempt.slot = worker, entry.slot
        attempt.started = attempt.started_sent = True
        attempt.dispatched_at = attempt.sent_at = now
        attempt.tries = 99  # it ran somewhere: never offered again under this epoch
        # The agent's timer starts anew; the engine's backstop keeps the true one.
        attempt.deadline = now + entry.timeout
        worker.slots[entry.slot] = attempt
        worker.next_slot = max(worker.next_slot, entry.slot + 1)
        attempts.live[entry.run] = attempt
        if attempt.shared:
            attempts.shared_used += 1
        else:
            attempts.run_used += 1
    return worker


def _grant(handle: Handle, saved: Saved) -> Grant:
    """What this runner was started with; tokens are in the journal alone."""
    if (token := saved.grants.get(handle.name)) is not None:
        return Grant(address=token.address, token=token.token)
    return Grant(directory=handle.directory)


async def _bind(
    worker: Worker,
    handle: Handle,
    grant: Grant,
    entries: list[Entry],
    runtime: Runtime,
    endpoints: Endpoints,
    provider: Provider,
    pool: Pool,
) -> None:
    """Listen again where the runner dials."""
    values: tuple[str, ...] = ()
    try:
        values = tuple(provider.resolve(worker.plan.secrets).values())
    except (NotProvided, OSError, ValueError) as e:
        log.warning("secrets of an adopted runner: %s", e)
    worker.redactor = pool.redactor_of(values)
    worker.capacity = max(1, len(entries))
    try:
        worker.endpoint = await endpoints.listen(
            worker.name[-12:], worker, slots=worker.capacity, grant=grant
        )
    except OSError as e:
        log.warning("cannot bind the channel of %s again: %s", worker.name, e)
        await runtime.signal(handle, 9)
    pool.adopt(worker)


async def settle(workers: list[Worker], pool: Pool, attempts: Attempts) -> None:
    """After the registration: wait for the runners' calls, compare them with the journal."""
    for worker in workers:
        if worker.handle is None:
            worker.gone = True
            attempts.worker_gone(worker)
    living = [w for w in workers if w.handle is not None and not w.gone]
    end = time.monotonic() + HELLO_TIMEOUT
    for worker in living:
        left = max(0.01, end - time.monotonic())
        try:
            async with asyncio.timeout(left):
                await worker.settled.wait()
        except TimeoutError:
            log.warning("%s did not call: it is ended", worker.name)
            pool.kill(worker)
            continue
        if worker.gone:
            continue
        theirs = {(slot, run, epoch) for slot, run, epoch in worker.hello_slots}
        ours = {(slot, a.run, a.epoch) for slot, a in worker.slots.items()}
        # It may have ended some meanwhile; it may not have what the journal does not know.
        if theirs - ours or (ours and not theirs):
            log.warning("%s has other runs than the journal: it is ended", worker.name)
            pool.discard(worker)
            pool.kill(worker)
            continue
        for slot, run, _ in sorted(ours - theirs):
            log.info("%s: slot %d of %s is over", run, slot, worker.name)
            attempt = worker.slots[slot]
            attempt.intent = "recycle"
            attempts.ending.conclude(attempt, None)
