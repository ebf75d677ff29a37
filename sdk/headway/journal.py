"""A journal of what was acknowledged to this process, for `headway verify` and chaos tests.

`HEADWAY_JOURNAL` names a file. Then each acknowledgement adds one line of JSON to it before the
caller hears of it, by one write() at the end of the file, so that several processes may share one:

    {"op":"enqueue","at":1764000000.1,"ns":"default","run":"01..","word":"recorded","key":"","payload":"<sha256>"}
    {"op":"result","at":..,"ns":"default","run":"01..","status":"succeeded","sha256":".."}
    {"op":"checkpoint","at":..,"run":"01..","epoch":1,"number":3,"sha256":".."}
    {"op":"mark","at":..,"run":"01..","epoch":1,"kind":"once","key":"mail","sha256":".."}

`word` is recorded, accepted or duplicate (then `winner` is the run that holds the key); `payload`
is the hash of the canonical form; `at` is this host's clock, seconds since the Unix epoch. A killed
process may leave half a line, of what nobody heard.

Without the variable a place costs one look at a module attribute. The file is not fsynced: it tells
of crashes of processes, not of power cuts. An agent with the process runtime hands the variable on
to its tasks. In a container the file is not there: tasks write none, unless the task names the
variable in `env=` and its folder is one that the container sees.
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import asyncio

    from headway.wire.frames import Ack

VARIABLE = "HEADWAY_JOURNAL"

armed = False
"""True if there is a file to write to. Look here before anything else."""

_file = -1


def open_journal(path: str) -> None:
    """Write to this file from now on; empty = stop. Raises OSError naming the file."""
    global _file, armed
    if _file >= 0:
        os.close(_file)
        _file = -1
    if path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        _file = os.open(path, flags, 0o666)
    armed = _file >= 0


def note(op: str, **fields: Any) -> None:
    """Add one line; on disk before the caller goes on, as far as the kernel is concerned."""
    if _file < 0:
        return
    line = msgspec.json.encode({"op": op, "at": time.time(), **fields}) + b"\n"
    os.write(_file, line)


def saved(run: str, epoch: int, frame: Any, body: bytes, done: asyncio.Future[Ack]) -> None:
    """A request of an attempt was answered: note what is durable now."""
    if done.cancelled() or done.exception() is not None or done.result().outcome != "ok":
        return
    kind = type(frame).__name__
    if kind == "Checkpoint":
        note("checkpoint", run=run, epoch=epoch, number=frame.number, sha256=frame.sha256)
    elif kind == "Mark" and frame.status == "done":
        digest = sha256(body).hexdigest()
        note("mark", run=run, epoch=epoch, kind=frame.kind, key=frame.key, sha256=digest)


open_journal(os.environ.get(VARIABLE, ""))
