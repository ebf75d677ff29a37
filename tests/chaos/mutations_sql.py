"""Named mutations of the statements of the Postgres store; see `mutations`."""

from __future__ import annotations

from chaos.mutations import Mutation, Patch

SAVING = ("tests/contract/test_store_saves.py",)
CLAIMING = ("tests/contract/test_store_claims.py", "tests/contract/test_store_leases.py")
KEYS = ("tests/contract/test_store_enqueue.py",)
FAULTS = ("tests/contract/test_store_postgres_faults.py",)


def _sql(name: str, tests: tuple[str, ...], area: str, old: str, new: str) -> Mutation:
    return Mutation(f"SQL: {name}", (Patch(f"sql:{area}", old, new),), tests)


IN_STORE: tuple[Mutation, ...] = (
    # The constraint epoch = run_epoch would refuse these: the mutants go around it.
    Mutation(
        "SQL: a checkpoint of any epoch",
        (
            Patch(
                "sql:saves",
                "WHERE id = $3 AND epoch = $4 AND ck = $5::int - 1",
                "WHERE id = $3 AND ck = $5::int - 1",
            ),
            Patch(
                "sql:saves",
                "SELECT id, $5, hw_now(), $4, epoch, $6,",
                "SELECT id, $5, hw_now(), greatest(epoch, $4), epoch, $6,",
            ),
        ),
        SAVING,
    ),
    _sql(
        "checkpoints of any epoch in a batch",
        SAVING,
        "saves",
        "FROM runs r JOIN i ON i.run = r.id AND i.epoch = r.epoch AND i.k = 1",
        "FROM runs r JOIN i ON i.run = r.id AND i.k = 1",
    ),
    _sql(
        "a checkpoint with an old number",
        SAVING,
        "saves",
        "AND epoch = $4 AND ck = $5::int - 1",
        "AND epoch = $4 AND ck >= $5::int - 1",
    ),
    _sql(
        "checkpoints with old numbers in a batch",
        SAVING,
        "saves",
        "AND r.ck = i.lo - 1 AND i.hi",
        "AND r.ck >= i.lo - 1 AND i.hi",
    ),
    Mutation(
        "SQL: a mark of any epoch",
        (
            Patch(
                "sql:saves",
                "WHERE id = $3 AND epoch = $4 AND CASE state WHEN 'RUNNING' THEN true END\n"
                "          AND (ns = $18",
                "WHERE id = $3 AND CASE state WHEN 'RUNNING' THEN true END\n"
                "          AND (ns = $18",
            ),
            Patch("sql:saves", "$13, $4, epoch, $15,", "$13, greatest(epoch, $4), epoch, $15,"),
        ),
        SAVING,
    ),
    Mutation(
        "SQL: marks of any epoch in a batch",
        (
            Patch("sql:saves", "d ON d.run = r.id AND d.epoch = r.epoch", "d ON d.run = r.id"),
            Patch(
                "sql:saves",
                "FROM i JOIN l ON l.id = i.run AND l.epoch = i.epoch, t\n        WHERE NOT",
                "FROM i JOIN l ON l.id = i.run, t\n        WHERE NOT",
            ),
            Patch("sql:saves", "i.size, i.epoch, l.epoch,", "i.size, l.epoch, l.epoch,"),
        ),
        SAVING,
    ),
    _sql(
        "a done mark may be overwritten",
        SAVING,
        "saves",
        "WHERE marks.kind = excluded.kind AND marks.status <> 'done'",
        "WHERE marks.kind = excluded.kind",
    ),
    _sql(
        "a started mark is taken while cancelling",
        SAVING,
        "saves",
        "WHERE NOT (i.status = 'started' AND l.state = 'CANCELLING')",
        "WHERE NOT (i.status = 'started' AND l.state = 'CANCELLED')",
    ),
    _sql(
        "a claim under a session that has ended",
        CLAIMING,
        "claim",
        "WHERE ns = $1 AND id = $2 AND session = $3 AND live;",
        "WHERE ns = $1 AND id = $2 AND session >= $3;",
    ),
    _sql(
        "the end of a lease does not raise the session",
        CLAIMING,
        "agents",
        "SET live = false, session = a.session + 1,",
        "SET live = false, session = a.session,",
    ),
    _sql(
        "a failover leaves the epochs",
        FAULTS,
        "identity",
        "THEN r.epoch ELSE r.epoch + $1 END",
        "THEN r.epoch ELSE r.epoch + 0 * $1 END",
    ),
    _sql(
        "a failover leaves open attempts no floor",
        FAULTS,
        "identity",
        "greatest(r.epoch, r.floor) + $1",
        "greatest(r.epoch, r.floor) + 0 * $1",
    ),
    _sql(
        "a failover fences the attempts that go on",
        FAULTS,
        "identity",
        "CASE WHEN l.open THEN r.epoch ELSE r.epoch + $1 END",
        "r.epoch + $1",
    ),
    _sql(
        "work behind the end of the stream is not published again",
        CLAIMING,
        "dispatch",
        "d.last_seq <= a.seq OR d.last_seq > $6 OR",
        "d.last_seq <= a.seq OR d.last_seq > greatest($6, d.last_seq) OR",
    ),
    _sql(
        "a duplicate key takes the key over",
        KEYS,
        "enqueue",
        "WHERE keys.until <= excluded.at OR keys.run = excluded.run",
        "WHERE keys.until >= excluded.at OR keys.run = excluded.run",
    ),
)
"""They need a real Postgres and run at night, each against the tests that it names.

Not among them: the event number that a transition expects. Without it the primary key of events
refuses the write, so that mutant is harmless.
"""
