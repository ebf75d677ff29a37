"""Fills a migrated database with very many runs, as a busy month leaves them behind."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from headway.ids import encode
from headway.wire import ErrorInfo
from headway.wire import encode as json
from headway_engine.store.edge.times import us

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=30)
END = START + SPAN
_RUNS = (
    "id", "ns", "task", "queue", "state", "created_at", "started_at", "ended_at", "due_at", "n",
    "epoch", "failures", "ck", "priority", "version", "agent", "reason", "tags", "parent", "origin",
    "failure", "acked",
)  # fmt: skip
_TASKS = ("research-agent", "research-report", "send-mail", "import-rows", "nightly-sums")
_ENDS = (
    [("SUCCEEDED", "")] * 184
    + [("FAILED", "error")] * 8
    + [("TIMED_OUT", "timeout")] * 2
    + [("CANCELLED", "")] * 3
    + [("EXPIRED", "ttl")]
)
_ERRORS = (
    ErrorInfo("HTTPStatusError", "429 Too Many Requests from model"),
    ErrorInfo("ValueError", "context_length exceeded"),
    ErrorInfo("SmtpError", "no route to host"),
)


def rows(count: int, ns: str, seed: int = 7) -> Iterator[tuple[Any, ...]]:
    """Rows of `runs`, oldest first; nearly all have ended, few old ones live on.

    Every tenth is a child, whose id has its parent's time; one in a thousand is a fork.
    """
    rand = random.Random(seed)
    newest = count - 2000
    some: list[tuple[int, str]] = [(0, "")]
    for i in range(count):
        at = START + SPAN * i / count
        ms = int(at.timestamp() * 1000)
        state, reason = rand.choice(_ENDS)
        if i >= newest:
            state, reason = rand.choice(
                [("QUEUED", ""), ("QUEUED", ""), ("RUNNING", ""), ("RETRYING", ""), ("DELAYED", "")]
            )
        elif i % 5000 == 0:
            state, reason = rand.choice([("WAITING", ""), ("REVIEW", "once")])
        ended = state in {"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED", "EXPIRED"}
        started = state not in {"QUEUED", "DELAYED", "EXPIRED"}
        took = timedelta(seconds=rand.expovariate(1 / 40))
        made, parent = rand.choice(some[-50:]) if i % 10 == 9 and i > 100 else (ms, "")
        run = encode(made, rand.getrandbits(80))
        if i % 10 == 0:
            some.append((ms, run))
        yield (
            run, ns, _TASKS[min(4, int(rand.expovariate(1)))],
            "agents" if rand.random() < 0.8 else "slow", state, at,
            at + timedelta(seconds=1) if started else None, at + took if ended else None,
            END if state in {"RETRYING", "WAITING", "DELAYED"} else None, 5, 1,
            int(rand.random() < 0.1), 3 if started else 0, 0, f"r{i * 40 // count}",
            f"edge-{rand.randrange(8)}" if started else "", reason,
            [f"customer=c{rand.randrange(5000)}", *(["golden"] if i % 997 == 0 else [])],
            parent, some[-1][1] if i % 1000 == 7 else "",
            rand.choice(_ERRORS).type if state in {"FAILED", "TIMED_OUT"} else "", i < newest // 2,
        )  # fmt: skip


def fill_edge(db: sqlite3.Connection, count: int, ns: str = "default") -> None:
    """The same into the projection of an edge store."""
    rand = random.Random(8)
    errors = [json(e).decode() for e in _ERRORS]

    def kept(value: Any) -> Any:
        if isinstance(value, datetime):
            return us(value)
        return json(value).decode() if isinstance(value, list) else value

    db.execute("BEGIN")
    places = ", ".join("?" * len(_RUNS))
    for k, row in enumerate(rows(count, ns)):
        db.execute(
            f"INSERT INTO runs (seq, record, {', '.join(_RUNS)}) VALUES (1, '', {places})",
            tuple(map(kept, row)),
        )
        if row[7] is not None:
            failed = row[4] != "SUCCEEDED"
            error = errors[min(2, int(rand.expovariate(1)))] if failed else None
            db.execute(
                "INSERT INTO bodies (run, payload, error, ended) VALUES (?, '', ?, 1)",
                (row[0], error),
            )
        if row[12] and k >= count - count // 5:
            db.execute(
                "INSERT INTO checkpoints (run, number, name, sha256, size, epoch, at, schema, keep,"
                " state) VALUES (?, 3, ?, '', 10, 1, ?, '', 0, '{}')",
                (row[0], f"iteration-{rand.randrange(12)}", us(row[5])),
            )
    db.execute("COMMIT")


async def fill(dsn: str, count: int, ns: str = "default") -> None:
    """Runs, their errors and last checkpoints, by COPY; then the statistics."""
    conn: Any = await asyncpg.connect(dsn)
    rand = random.Random(8)
    try:
        made = list(rows(count, ns))
        await conn.copy_records_to_table("runs", records=made, columns=_RUNS)
        bodies = [json(e) for e in _ERRORS]
        await conn.copy_records_to_table(
            "results",
            records=[
                (r[0], b"7", None)
                if r[4] == "SUCCEEDED"
                else (r[0], b"", bodies[min(2, int(rand.expovariate(1)))])
                for r in made
                if r[7] is not None
            ],
            columns=("run", "body", "error"),
        )
        await conn.copy_records_to_table(
            "checkpoints",
            records=[
                (r[5], 10, 1, 1, 3, r[0], f"iteration-{rand.randrange(12)}", "", b"{}")
                for r in made[-count // 5 :]
                if r[12]
            ],
            columns=(
                "at", "size", "epoch", "run_epoch", "number", "run", "name", "sha256", "state"
            ),
        )  # fmt: skip
        await conn.execute("VACUUM ANALYZE")
    finally:
        await conn.close()
