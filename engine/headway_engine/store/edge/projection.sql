-- The projection: what RUNS says, in tables. Thrown away and made again at will; never the truth.
-- Times are whole microseconds since the Unix epoch, UTC. Ids are text. JSON columns hold what
-- msgspec wrote. `PRAGMA user_version` is the number of this schema (`projection.SCHEMA`).

-- One row per id that RUNS knows. `state` is NULL where there is no run: an enqueue was refused, a
-- cancel came before it, a key belongs to another run, or the run was removed.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    ns TEXT NOT NULL,
    seq INTEGER NOT NULL,               -- last sequence of this id in RUNS: what a write expects
    state TEXT,                         -- QUEUED ...; NULL = no run
    task TEXT NOT NULL DEFAULT '',
    queue TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    session INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    n INTEGER NOT NULL DEFAULT 0,
    ck INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    resumed INTEGER NOT NULL DEFAULT 0,
    shared INTEGER NOT NULL DEFAULT 0,
    limit_key TEXT NOT NULL DEFAULT '',
    dispatch INTEGER NOT NULL DEFAULT 0, -- sequence of its `ready` message; 0 = it waits
    created_at INTEGER,
    queued_at INTEGER,                  -- since when it waits in its queue
    due_at INTEGER,
    ttl_at INTEGER,
    deadline_at INTEGER,
    claimed_at INTEGER,
    attempt_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    timeout REAL NOT NULL DEFAULT 3600, -- seconds, of the version it was claimed with
    parent TEXT NOT NULL DEFAULT '',
    root TEXT NOT NULL DEFAULT '',
    origin TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    failure TEXT NOT NULL DEFAULT '',
    acked INTEGER NOT NULL DEFAULT 0,
    tags TEXT NOT NULL DEFAULT '[]',    -- JSON array
    early INTEGER NOT NULL DEFAULT 0,   -- a cancel of it was acknowledged before it was recorded
    noted_at INTEGER,                   -- of what is no run: when the outcome or the tombstone was
    budget_usd REAL NOT NULL DEFAULT 0,
    budget_tokens INTEGER NOT NULL DEFAULT 0,
    record BLOB NOT NULL                -- messages.Record, JSON: all that decides
);

CREATE INDEX runs_heads ON runs (ns, queue, shared, priority DESC, resumed DESC, id)
    WHERE state = 'QUEUED' AND dispatch = 0;
CREATE INDEX runs_heads_by_key
    ON runs (ns, queue, limit_key, shared, priority DESC, resumed DESC, id)
    WHERE state = 'QUEUED' AND dispatch = 0;
CREATE INDEX runs_given ON runs (ns, queue, limit_key) WHERE state = 'QUEUED' AND dispatch > 0;
CREATE INDEX runs_open ON runs (ns, queue, limit_key)
    WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_held ON runs (ns, agent, session)
    WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_live ON runs (ns, queue, state, shared)
    WHERE ended_at IS NULL AND state IS NOT NULL;
CREATE INDEX runs_due ON runs (due_at)
    WHERE state IN ('DELAYED', 'RETRYING', 'WAITING') AND due_at IS NOT NULL;
CREATE INDEX runs_ttl ON runs (ttl_at) WHERE ttl_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_deadline ON runs (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_early ON runs (id) WHERE early = 1 AND ended_at IS NULL;
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_noted ON runs (noted_at) WHERE noted_at IS NOT NULL;
CREATE INDEX runs_listed ON runs (ns, state, id) WHERE state IS NOT NULL;
-- Lists by id, and, of runs whose ids say another time (children, forks), by when they were made.
CREATE INDEX runs_ids ON runs (ns, id);
CREATE INDEX runs_derived ON runs (ns, state, created_at, id) WHERE parent <> '' OR origin <> '';
CREATE INDEX runs_parent ON runs (ns, parent, id) WHERE parent <> '';
CREATE INDEX runs_origin ON runs (ns, origin, id) WHERE origin <> '';
CREATE INDEX runs_dead ON runs (ns, id) WHERE failure <> '' AND NOT acked;
CREATE INDEX runs_dead_class ON runs (ns, failure, task, ended_at, id, ck)
    WHERE failure <> '' AND NOT acked;

-- Of all failures, acknowledged or not: how many failed alike, and since when.
CREATE INDEX runs_alike ON runs (ns, failure, ended_at, created_at) WHERE failure <> '';

-- User bodies, exactly as they came.
CREATE TABLE bodies (
    run TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    payload_ref TEXT,                   -- JSON of BlobRef
    result BLOB,
    result_ref TEXT,
    result_size INTEGER,
    error TEXT,                         -- JSON of ErrorInfo
    ended INTEGER NOT NULL DEFAULT 0    -- result, result_ref, error are of its end
);

CREATE TABLE events (
    run TEXT NOT NULL,
    n INTEGER NOT NULL,
    body BLOB NOT NULL,                 -- JSON of wire.events.Event
    PRIMARY KEY (run, n)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    schema TEXT NOT NULL,
    keep INTEGER NOT NULL,
    ref TEXT,                           -- JSON of BlobRef
    state BLOB NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE marks (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    token TEXT NOT NULL,
    size INTEGER NOT NULL,
    after INTEGER NOT NULL,
    ref TEXT,                           -- JSON of BlobRef
    record BLOB NOT NULL,               -- JSON of wire.rpc.MarkRecord, value and all
    PRIMARY KEY (run, key)
);

CREATE TABLE usage (
    run TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    model TEXT NOT NULL,
    ns TEXT NOT NULL,
    task TEXT NOT NULL,
    at INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    PRIMARY KEY (run, epoch, model)
) WITHOUT ROWID;
CREATE INDEX usage_by_time ON usage (ns, at);

-- Runs that a replay job has made.
CREATE TABLE forks (
    run TEXT PRIMARY KEY,
    ns TEXT NOT NULL,
    job TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX forks_by_job ON forks (ns, job, run);

-- Idempotency keys: the last message of `hw.key.<ns>.<digest>`. Whether its run has freed it stands
-- in the run's record.
CREATE TABLE keys (
    subject TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    run TEXT NOT NULL,
    hash TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_until ON keys (until);

-- Blobs to remove: follows from RUNS (dropped checkpoints, removed runs).
CREATE TABLE purges (
    ns TEXT NOT NULL,
    run TEXT NOT NULL,
    key TEXT NOT NULL,                  -- '' = all of the run
    due_at INTEGER NOT NULL,
    PRIMARY KEY (ns, run, key)
) WITHOUT ROWID;
CREATE INDEX purges_due ON purges (due_at);

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
