"""Random runs of all states, made of few words, put straight into the tables of a store."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from headway.ids import encode
from headway.states import FAILURES, TERMINAL, RunState
from headway.wire import ErrorInfo
from headway.wire import encode as json
from headway_engine.store.edge.times import us
from support.factories import EPOCH, NS
from support.queries import WORDS
from support.stores import EdgeKit, PostgresKit

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 150
JOBS = (WORDS[0], WORDS[1])
_STARTED = frozenset(RunState) - {RunState.DELAYED, RunState.QUEUED, RunState.EXPIRED}


class AnyRun(NamedTuple):
    """One of them."""

    id: str
    ns: str
    task: str
    queue: str
    state: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    failures: int
    ck: int
    priority: int
    version: str
    agent: str
    reason: str
    tags: list[str]
    parent: str
    origin: str
    key: str
    limit_key: str
    dispatch: int | None
    failure: str
    acked: bool
    point: str
    """The name of its checkpoint."""
    error: ErrorInfo | None
    used: list[tuple[float, int]]
    """Dollars and tokens of its attempts."""
    job: str
    """The one that made it."""


COLUMNS = AnyRun._fields[:22]


def any_runs() -> Iterator[AnyRun]:
    """So many; one in ten is of another namespace."""
    rand = random.Random(5)
    ids: list[str] = []
    word = lambda: rand.choice(("", *WORDS))  # noqa: E731  # short among many
    for i in range(COUNT):
        state = rand.choice(list(RunState))
        at = EPOCH - timedelta(seconds=rand.randrange(7200), microseconds=rand.randrange(10**6))
        parent, origin = (rand.choice(["", "", *ids[:5]]) for _ in range(2))
        # Ids of what others derived are older than their runs; of the rest an hour off at most.
        off = rand.randrange(-3_600_000, 3_600_000)
        made = -rand.randrange(10**9) if parent or origin else off
        run = encode(int(at.timestamp() * 1000) + made, i * 7 + (rand.getrandbits(40) << 40))
        started = at + timedelta(milliseconds=rand.randrange(5000)) if state in _STARTED else None
        took = timedelta(microseconds=rand.choice((0, 1000, 999_999, 60_000_000)))
        ended = (started or at) + took if state in TERMINAL else None
        text = f'{word()}\x00 \\u0000 \\\x00\n"{word()}"\u2028'
        error = ErrorInfo(word(), text, "nobody asks for tracebacks") if i % 3 else None
        if state is RunState.SUCCEEDED:
            error = None  # as every end has it: such runs are not looked at
        ids.append(run)
        yield AnyRun(
            run, NS if i % 10 else "other", word(), word(), state.value, at, started, ended,
            rand.randrange(4), i % 2, rand.randrange(-3, 12), word(), word(), word(),
            [w for w in WORDS if rand.random() < 0.15], parent, origin, word(), word(),
            rand.choice([None, 1]) if state is RunState.QUEUED else None,
            word() or "Error" if state in FAILURES else "", rand.random() < 0.3, word(), error,
            [
                (rand.choice((0.25, 0.000001, 0.984567)), rand.choice((0, 1, 4)))
                for _ in range(rand.randrange(3))
            ],
            JOBS[i % 2] if origin and i % 3 else "",
        )  # fmt: skip


async def put_any_runs(kit: PostgresKit | EdgeKit) -> list[str]:
    """Put them into the store; their ids."""
    runs = list(any_runs())
    if isinstance(kit, EdgeKit):
        _into_sqlite(kit.edge.db, runs)
    else:
        await _into_postgres(kit.dsn, runs)
    return [run.id for run in runs]


async def _into_postgres(dsn: str, runs: list[AnyRun]) -> None:
    conn: Any = await asyncpg.connect(dsn)
    try:
        await conn.executemany(
            f"INSERT INTO runs (n, {', '.join(COLUMNS)})"
            f" VALUES (1, {', '.join(f'${k + 1}' for k in range(22))})",
            [run[:22] for run in runs],
        )
        await conn.executemany(
            "INSERT INTO checkpoints (at, size, epoch, run_epoch, number, run, name, sha256, state)"
            " VALUES ($1, 1, 1, 1, 1, $2, $3, '', '')",
            [(r.created_at, r.id, r.point) for r in runs],
        )
        await conn.executemany(
            "INSERT INTO results (run, body, error) VALUES ($1, '', $2)",
            [(r.id, None if r.error is None else json(r.error)) for r in runs],
        )
        await conn.executemany(
            "INSERT INTO usage (at, epoch, tokens_in, tokens_out, cost_usd, run, ns, task, model)"
            " VALUES ($1, $2, $3, $3, $4, $5, $6, '', 'm')",
            [
                (r.created_at, k, tokens, cost, r.id, r.ns)
                for r in runs
                for k, (cost, tokens) in enumerate(r.used, 1)
            ],
        )
        await conn.executemany(
            "INSERT INTO jobs (at, until, paced_at, items, ns, job, plan, state, body)"
            " VALUES ($1, $1, $1, 1, $2, $3, '', 'done', '') ON CONFLICT DO NOTHING",
            [(r.created_at, r.ns, r.job) for r in runs if r.job],
        )
        await conn.executemany(
            "INSERT INTO job_items (number, checkpoint, ns, job, run, fork, body)"
            " VALUES ($1, 0, $2, $3, $4, $5, '')",
            [(k, r.ns, r.job, r.origin, r.id) for k, r in enumerate(runs) if r.job]
            # One that was moved by a job was not made by it.
            + [(COUNT + k, NS, JOBS[0], r.id, r.id) for k, r in enumerate(runs)],
        )
    finally:
        await conn.close()


def _into_sqlite(db: Any, runs: list[AnyRun]) -> None:
    def kept(value: Any) -> Any:
        if isinstance(value, datetime):
            return us(value)
        return json(value).decode() if isinstance(value, list) else value

    db.execute("BEGIN")
    db.executemany(
        f"INSERT INTO runs (n, seq, record, {', '.join(COLUMNS)})"
        f" VALUES (1, 1, '', {', '.join('?' * 22)})",
        [tuple(map(kept, run._replace(dispatch=run.dispatch or 0)[:22])) for run in runs],
    )
    db.executemany(
        "INSERT INTO checkpoints (run, number, name, sha256, size, epoch, at, schema, keep, state)"
        " VALUES (?, 1, ?, '', 1, 1, ?, '', 0, '')",
        [(r.id, r.point, us(r.created_at)) for r in runs],
    )
    db.executemany(
        "INSERT INTO bodies (run, payload, error, ended) VALUES (?, '', ?, 1)",
        [(r.id, None if r.error is None else json(r.error).decode()) for r in runs],
    )
    db.executemany(
        "INSERT INTO usage VALUES (?, ?, 'm', ?, '', ?, ?, ?, ?)",
        [
            (r.id, k, r.ns, us(r.created_at), tokens, tokens, cost)
            for r in runs
            for k, (cost, tokens) in enumerate(r.used, 1)
        ],
    )
    db.executemany(
        "INSERT INTO forks VALUES (?, ?, ?)", [(r.id, r.ns, r.job) for r in runs if r.job]
    )
    db.execute("COMMIT")
