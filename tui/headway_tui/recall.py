"""The rows of the list as they were seen last: painted at once, dimmed, until the engine answers.

One small file per connection in the user's cache, readable by its owner alone. It holds what a row
shows but no words of errors, tags or reasons, which are the users' own. A protected or read-only
connection leaves nothing behind. A file that is damaged, too large, or somebody else's is ignored.
"""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from headway.folders import cache_folder, write_private
from headway.wire import ErrorInfo
from headway.wire.runs import RunRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from headway.config import Settings

ROWS = 100
"""More than any screen shows."""
LIMIT = 64 * 1024
"""Bytes of the file."""


class Recalled(Struct, forbid_unknown_fields=True):
    """The file."""

    query: str
    as_of: datetime
    rows: list[RunRow]


def file_of(settings: Settings, env: Mapping[str, str] | None = None) -> Path | None:
    """Where the rows of a connection are kept; None = nowhere."""
    if settings.protect or settings.readonly:
        return None
    whose = "\0".join((settings.nats_url, settings.namespace, settings.user))
    return cache_folder(env) / "rows" / f"{sha256(whose.encode()).hexdigest()[:32]}.json"


def keep(file: Path, query: str, as_of: datetime, rows: Iterable[RunRow]) -> None:
    """Write what a list shows; a disk that is full, or no folder, is no reason to say so."""
    bare = [_bare(row) for row, _ in zip(rows, range(ROWS), strict=False)]
    body = msgspec.json.encode(Recalled(query, as_of, bare))
    with contextlib.suppress(OSError):
        if len(body) <= LIMIT:
            write_private(file, body)


def recalled(file: Path, query: str) -> Recalled | None:
    """What was kept of a list with this query; None if there is nothing that can be used."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            status = os.fstat(handle)
            ours = status.st_uid == os.getuid() and not status.st_mode & 0o077
            if not ours or not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT:
                return None
            found = msgspec.json.decode(opened.read(LIMIT), type=Recalled)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.query == query and found.as_of.tzinfo is not None else None


def _bare(row: RunRow) -> RunRow:
    return RunRow(
        row.run, row.task, row.status, row.queue, row.created_at, epoch=row.epoch, n=row.n,
        attempt=row.attempt, max_attempts=row.max_attempts, checkpoint=row.checkpoint,
        checkpoint_name=row.checkpoint_name, due_at=row.due_at, started_at=row.started_at,
        ended_at=row.ended_at, claimed_at=row.claimed_at, failure=row.failure, acked=row.acked,
        error=ErrorInfo(row.error.type, "") if row.error is not None else None,
    )  # fmt: skip
