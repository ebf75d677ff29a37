"""A process of its own that makes a projection aside: `python -m headway_engine.store.edge.filler`.

It reads RUNS by itself and writes a file beside the projection that the engine works with, so the
engine's loop has no part in it. On standard input it gets its `Job`, as one line of JSON; on
standard output it says how far it is, one number a line, and on standard error, one line each, what
the engine's log should know. It ends with the engine: standard input ends then, however the engine
died. What an interrupted one has written is gone on with by the next: how far it was stands in the
file, in the transaction of what it applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import sys
import threading
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING

from headway import subjects
from headway.bus import connect
from headway.errors import HeadwayError
from headway.history import history
from headway.wire import decoder
from headway_engine.store.edge.applying import Changes, Message
from headway_engine.store.edge.damage import is_damage
from headway_engine.store.edge.filling import DAMAGED, FAILED, Job, aside
from headway_engine.store.edge.projection import Projection, remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client as NatsClient

NICE = 5
"""It gives way to the engine and to tasks."""
FIRST_TO_GO = "500"
"""Its `oom_score_adj`."""
PAGE, PAGE_BYTES = 2000, 4 * 1024 * 1024
"""Of RUNS asked for at once."""
TAKEN, TAKEN_BYTES = 500, 1024 * 1024
"""Messages that are handed over at once."""
AHEAD = 4
"""So many of these wait, at most, while others are applied: NATS reads on meanwhile."""
APPLIED, APPLIED_BYTES = 8000, 8 * 1024 * 1024
"""Messages whose rows are written at once: a run's are written once for all of them."""
LOG_PAGES = 4000
"""Pages in SQLite's log until they are brought into the file."""
TIMEOUT = 5.0
"""Seconds that a read of RUNS may take."""


JOB = decoder(Job)


async def fill(job: Job, say: Callable[[int], None]) -> None:
    """Make the file, up to the end of RUNS, and close it; `say` hears how far it is.

    Raises HeadwayError if RUNS cannot be read, sqlite3.Error or OSError if the file cannot be
    written: what was written may be gone on with, or was removed.
    """
    nc = await connect(job.nats, kind="engine", ident="filling")
    path = aside(Path(job.projection))
    try:
        with closing(_opened(job, path)) as projection:
            await _read(nc, projection, say)
            projection.index()
            await _read(nc, projection, say)  # what came meanwhile
    except sqlite3.Error as e:
        # Spoiled it is of no use, and a full disk must not stay full by it.
        if is_damage(e) or getattr(e, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            remove(path)
        raise
    finally:
        await nc.close()


def _opened(job: Job, path: Path) -> Projection:
    """What an earlier one has left, a copy of what the engine has, or an empty one."""
    projection = Projection(path)
    projection.open(job.stream, job.last)
    if projection.watermark < job.watermark:
        projection.close()
        remove(path)
        where = f"{Path(job.projection).absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(where, uri=True)) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)
        projection.open(job.stream, job.last)
    if not projection.watermark:
        projection.drop_indexes()
    projection.db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
    return projection


async def _read(nc: NatsClient, projection: Projection, say: Callable[[int], None]) -> None:
    """Apply what follows, to the end of RUNS; what was read is written also if the rest fails."""
    parts, room = asyncio.Queue[list[Message]](), asyncio.Semaphore(AHEAD)
    reading = asyncio.create_task(_hand_over(nc, projection.watermark + 1, parts, room))
    try:
        changes, upto, count, size = Changes(projection), projection.watermark, 0, 0
        while part := await parts.get():
            room.release()
            for message in part:
                changes.take(message)
                size += len(message.data)
            upto, count = part[-1].seq, count + len(part)
            if count >= APPLIED or size >= APPLIED_BYTES:
                projection.write(changes, upto)
                say(upto)
                changes, count, size = Changes(projection), 0, 0
        projection.write(changes, upto)
        say(upto)
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _hand_over(
    nc: NatsClient, first: int, parts: asyncio.Queue[list[Message]], room: asyncio.Semaphore
) -> None:
    """Read to the end, which is an empty part; so is what ends it early."""
    part, size = list[Message](), 0
    read = history(nc, subjects.RUNS, ">", first, batch=PAGE, max_bytes=PAGE_BYTES, timeout=TIMEOUT)
    try:
        async with aclosing(read):
            async for stored in read:
                part.append(Message(stored.subject, stored.seq, stored.data))
                size += len(stored.data)
                if len(part) >= TAKEN or size >= TAKEN_BYTES:
                    await room.acquire()
                    parts.put_nowait(part)
                    part, size = [], 0
        if part:
            parts.put_nowait(part)
    finally:
        parts.put_nowait([])


def _end_with_the_engine() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(FAILED)


def _say(upto: int) -> None:
    sys.stdout.write(f"{upto}\n")
    sys.stdout.flush()


def main() -> int:
    """Do the job that standard input tells; the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    job = JOB.decode(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_engine, daemon=True).start()
    os.nice(NICE)
    with contextlib.suppress(OSError):  # where memory is short it goes first: the next goes on
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    folder = os.open(Path(job.projection).parent, os.O_RDONLY)
    try:
        # One that a killed engine has left ends by itself, in a moment.
        fcntl.flock(folder, fcntl.LOCK_EX)
        asyncio.run(fill(job, _say))
    except (HeadwayError, sqlite3.Error, OSError) as e:
        logging.getLogger().error("%s", " ".join(str(e).split()) or repr(e))
        return DAMAGED if is_damage(e) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
