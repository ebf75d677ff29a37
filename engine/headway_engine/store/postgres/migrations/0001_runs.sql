-- min_engine: 0.1.0
-- The first schema. `runs` is narrow and hot; bodies of any size live beside it.
-- Ids are ULIDs (COLLATE "C": byte order, which is the order of time). Bodies of users are bytea: exact
-- bytes, never text or jsonb. There are no foreign keys: every writer holds the run's row lock.

-- The store's clock: when the statement came in. One place, so that a test can put its own clock here;
-- STABLE, so that an index can be searched with it.
CREATE FUNCTION hw_now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT statement_timestamp()';

CREATE TABLE runs (
    created_at       timestamptz NOT NULL,
    due_at           timestamptz,           -- DELAYED, RETRYING, WAITING: when the timer queues it
    ttl_at           timestamptz,           -- must have started by then, else EXPIRED
    deadline_at      timestamptz,           -- of the whole run
    claimed_at       timestamptz,
    started_at       timestamptz,           -- first start ever
    attempt_at       timestamptz,           -- start of the open attempt
    ended_at         timestamptz,
    epoch            bigint NOT NULL DEFAULT 0,   -- the fencing number; only grows
    dispatch         bigint,                -- its batch in `dispatches` while it is given to WORK
    session          bigint NOT NULL DEFAULT 0,   -- of the agent, at the claim
    timeout_s        float8 NOT NULL DEFAULT 3600,  -- of one attempt; from the pinned version
    n                int NOT NULL,          -- number of the last event
    ck               int NOT NULL DEFAULT 0,      -- number of the last checkpoint
    failures         int NOT NULL DEFAULT 0,
    lost             int NOT NULL DEFAULT 0,
    lost_ck          int NOT NULL DEFAULT 0,
    unstarted        int NOT NULL DEFAULT 0,
    priority         int NOT NULL DEFAULT 0,
    keep_ck          int NOT NULL DEFAULT 20,     -- checkpoints to keep; from the pinned version
    shared           boolean NOT NULL DEFAULT false,
    resumed          boolean NOT NULL DEFAULT false,
    keep_key         boolean NOT NULL DEFAULT false,
    id               text COLLATE "C" PRIMARY KEY,
    ns               text COLLATE "C" NOT NULL,
    task             text COLLATE "C" NOT NULL,
    queue            text COLLATE "C" NOT NULL,
    state            text COLLATE "C" NOT NULL CHECK (state IN (
                         'DELAYED',     -- -> QUEUED (due), CANCELLED, EXPIRED
                         'QUEUED',      -- -> STARTING (claim), REVIEW, CANCELLED, EXPIRED, TIMED_OUT
                         'STARTING',    -- -> RUNNING (started, or any save), QUEUED (given back, lost) ...
                         'RUNNING',     -- -> an end, RETRYING, QUEUED (lost), WAITING, REVIEW, CANCELLING
                         'WAITING',     -- -> QUEUED (due, answered), FAILED, TIMED_OUT, CANCELLED
                         'RETRYING',    -- -> QUEUED (due), REVIEW, FAILED, TIMED_OUT, CANCELLED
                         'REVIEW',      -- -> QUEUED (a person), FAILED, TIMED_OUT, CANCELLED
                         'CANCELLING',  -- -> CANCELLED (the attempt is over)
                         'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED')),
    limit_key        text COLLATE "C" NOT NULL DEFAULT '',
    version          text COLLATE "C" NOT NULL DEFAULT '',
    agent            text COLLATE "C" NOT NULL DEFAULT '',
    nonce            text COLLATE "C" NOT NULL DEFAULT '',
    reason           text NOT NULL DEFAULT '',
    parent           text COLLATE "C" NOT NULL DEFAULT '',
    root             text COLLATE "C" NOT NULL DEFAULT '',
    origin           text COLLATE "C" NOT NULL DEFAULT '',
    key              text COLLATE "C" NOT NULL DEFAULT '',
    key_scope        text COLLATE "C" NOT NULL DEFAULT '',
    reply            text COLLATE "C" NOT NULL DEFAULT '',
    trace            text COLLATE "C" NOT NULL DEFAULT '',
    unconfirmed      bigint[] NOT NULL DEFAULT '{}',  -- epochs of lost attempts that nobody saw end
    unstarted_agents text[] NOT NULL DEFAULT '{}',
    tags             text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);

-- Heads of the queues: a row is in exactly one of the two.
CREATE INDEX runs_heads ON runs (ns, queue, shared, priority DESC, resumed DESC, id)
    WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key = '';
CREATE INDEX runs_heads_by_key ON runs (ns, queue, limit_key, shared, priority DESC, resumed DESC, id)
    WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '';
CREATE INDEX runs_given ON runs (ns, queue, limit_key)
    WHERE state = 'QUEUED' AND dispatch IS NOT NULL;
CREATE INDEX runs_open ON runs (ns, queue, limit_key)
    WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_due ON runs (due_at) WHERE state IN ('DELAYED', 'RETRYING', 'WAITING');
CREATE INDEX runs_limits ON runs (least(ttl_at, deadline_at))
    WHERE ended_at IS NULL AND (ttl_at IS NOT NULL OR deadline_at IS NOT NULL);
CREATE INDEX runs_review ON runs (ns, id) WHERE state = 'REVIEW';

-- Refuses moves that are not in the table of moves, and an epoch or event number that goes back.
-- All of the test is in the WHEN clauses: a legal update calls no function.
CREATE FUNCTION hw_illegal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'illegal move of run %: % to %, epoch % to %, n % to %',
        OLD.id, OLD.state, NEW.state, OLD.epoch, NEW.epoch, OLD.n, NEW.n USING ERRCODE = 'HW001';
END $$;
CREATE TRIGGER runs_legal_move BEFORE UPDATE OF state ON runs FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NOT CASE OLD.state
        WHEN 'RUNNING' THEN NEW.state IN ('SUCCEEDED', 'FAILED', 'TIMED_OUT', 'RETRYING', 'QUEUED',
                                          'WAITING', 'REVIEW', 'CANCELLING')
        WHEN 'QUEUED' THEN NEW.state IN ('STARTING', 'REVIEW', 'CANCELLED', 'EXPIRED', 'TIMED_OUT')
        -- One commit may carry two moves (started and the end): what RUNNING may reach is legal too.
        WHEN 'STARTING' THEN NEW.state IN ('RUNNING', 'QUEUED', 'RETRYING', 'REVIEW', 'FAILED',
                                           'TIMED_OUT', 'CANCELLING', 'SUCCEEDED', 'WAITING')
        WHEN 'DELAYED' THEN NEW.state IN ('QUEUED', 'CANCELLED', 'EXPIRED')
        WHEN 'WAITING' THEN NEW.state IN ('QUEUED', 'FAILED', 'TIMED_OUT', 'CANCELLED')
        WHEN 'RETRYING' THEN NEW.state IN ('QUEUED', 'REVIEW', 'FAILED', 'TIMED_OUT', 'CANCELLED')
        WHEN 'REVIEW' THEN NEW.state IN ('QUEUED', 'FAILED', 'TIMED_OUT', 'CANCELLED')
        WHEN 'CANCELLING' THEN NEW.state = 'CANCELLED'
        ELSE false END)
    EXECUTE FUNCTION hw_illegal();
CREATE TRIGGER runs_never_back BEFORE UPDATE OF epoch, n ON runs FOR EACH ROW
    WHEN (NEW.epoch < OLD.epoch OR NEW.n < OLD.n) EXECUTE FUNCTION hw_illegal();

CREATE TABLE payloads (
    run    text COLLATE "C" PRIMARY KEY,
    hash   text COLLATE "C" NOT NULL,      -- of the payload's canonical form
    schema text COLLATE "C" NOT NULL DEFAULT '',
    body   bytea NOT NULL,
    ref    bytea                           -- BlobRef as JSON, if the body lies in blobs
);
ALTER TABLE payloads ALTER body SET STORAGE EXTERNAL;

CREATE TABLE results (
    run   text COLLATE "C" PRIMARY KEY,
    size  bigint NOT NULL DEFAULT 0,
    body  bytea NOT NULL,                  -- raw JSON; empty = none
    ref   bytea,
    error bytea                            -- ErrorInfo as JSON
);
ALTER TABLE results ALTER body SET STORAGE EXTERNAL;

CREATE TABLE events (
    at     timestamptz NOT NULL,
    epoch  bigint NOT NULL,
    n      int NOT NULL,
    run    text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL DEFAULT '',
    target text COLLATE "C" NOT NULL DEFAULT '',
    actor  text COLLATE "C" NOT NULL DEFAULT '',
    data   bytea,                          -- JSON; NULL = none
    PRIMARY KEY (run, n)
);

CREATE TABLE checkpoints (
    at        timestamptz NOT NULL,
    size      bigint NOT NULL,
    epoch     bigint NOT NULL,             -- of the attempt that saved
    run_epoch bigint NOT NULL,             -- of the run at the commit
    number    int NOT NULL,
    keep      boolean NOT NULL DEFAULT false,
    run       text COLLATE "C" NOT NULL,
    name      text NOT NULL,
    sha256    text COLLATE "C" NOT NULL,
    schema    text COLLATE "C" NOT NULL DEFAULT '',
    ref       bytea,
    state     bytea NOT NULL,
    PRIMARY KEY (run, number),
    CONSTRAINT checkpoints_epoch_at_commit CHECK (epoch = run_epoch)
);
ALTER TABLE checkpoints ALTER state SET STORAGE EXTERNAL;

CREATE TABLE marks (
    at        timestamptz NOT NULL,
    due_at    timestamptz,
    size      bigint NOT NULL DEFAULT 0,
    epoch     bigint NOT NULL,             -- of the attempt that wrote it
    run_epoch bigint,                      -- of the run at the commit; NULL = not written by an attempt
    after     int NOT NULL DEFAULT 0,      -- number of the last checkpoint at the time
    run       text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,   -- step | once | sleep | wait | call | enqueue
    fn        text NOT NULL DEFAULT '',
    status    text COLLATE "C" NOT NULL,   -- started -> done | failed | interrupted; open -> done | error
    token     text COLLATE "C" NOT NULL DEFAULT '',
    resolved  text COLLATE "C" NOT NULL DEFAULT '',  -- decision on an ambiguous once: done | rerun
    ref       bytea,
    error     bytea,
    value     bytea NOT NULL DEFAULT '',
    PRIMARY KEY (run, key),
    CONSTRAINT marks_epoch_at_commit CHECK (run_epoch IS NULL OR epoch = run_epoch)
);
ALTER TABLE marks ALTER value SET STORAGE EXTERNAL;
CREATE INDEX marks_open_once ON marks (run)
    WHERE kind = 'once' AND status <> 'done' AND resolved = '';

-- The columns of records.Run in their order, with the open once marks.
CREATE VIEW run_records AS
SELECT id, ns, task, queue, state, created_at, epoch, n, ck, failures, lost, lost_ck, unstarted,
       unstarted_agents, version, shared, limit_key, priority, resumed, agent, session, nonce,
       due_at, ttl_at, deadline_at, claimed_at, started_at, attempt_at, ended_at, reason,
       unconfirmed, parent, root, origin, key, keep_key, reply, trace,
       (SELECT json_agg(json_build_array(m.key, m.token, m.epoch, m.status) ORDER BY m.key)::text
          FROM marks m
         WHERE m.run = runs.id AND m.kind = 'once' AND m.status <> 'done' AND m.resolved = '')
           AS open_marks,
       key_scope, dispatch, tags
  FROM runs;

-- Idempotency keys: the holder, until the end of its fixed window.
CREATE TABLE keys (
    until timestamptz NOT NULL,
    at    timestamptz NOT NULL,            -- when the holder was accepted
    ns    text COLLATE "C" NOT NULL,
    task  text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,       -- '' = namespace, else the parent's run id
    key   text COLLATE "C" NOT NULL,
    run   text COLLATE "C" NOT NULL,
    hash  text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, task, scope, key)
);
CREATE INDEX keys_until ON keys (until);

-- What became of an enqueue that made no run.
CREATE TABLE outcomes (
    at     timestamptz NOT NULL,
    ns     text COLLATE "C" NOT NULL,
    run    text COLLATE "C" NOT NULL,
    winner text COLLATE "C" NOT NULL DEFAULT '',  -- alias of the key's holder
    code   text NOT NULL DEFAULT '',       -- or rejected, with the reason
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (ns, run)
);
CREATE INDEX outcomes_at ON outcomes (at);

CREATE TABLE early_cancels (
    at     timestamptz NOT NULL,
    ns     text COLLATE "C" NOT NULL,
    run    text COLLATE "C" NOT NULL,
    actor  text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (ns, run)
);

-- One row per committed batch until RUNS has its events.
CREATE TABLE outbox (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL,
    engine text COLLATE "C" NOT NULL,
    runs   text[] NOT NULL,
    numbers int[] NOT NULL                 -- event numbers, beside `runs`
);

-- One row per batch given to WORK. last_seq NULL = not published yet, so it is WORK's outbox too.
CREATE SEQUENCE dispatch_ids;
CREATE TABLE dispatches (
    id             bigint PRIMARY KEY,
    last_seq       bigint,
    at             timestamptz NOT NULL,
    ns             text COLLATE "C" NOT NULL,
    queue          text COLLATE "C" NOT NULL,
    stream_created text COLLATE "C" NOT NULL DEFAULT '',
    runs           text[] NOT NULL,
    shared         boolean[] NOT NULL
);
CREATE INDEX dispatches_at ON dispatches (at);

CREATE TABLE queues (
    ns        text COLLATE "C" NOT NULL,
    queue     text COLLATE "C" NOT NULL,
    run_limit int NOT NULL DEFAULT 0,      -- open attempts at once; 0 = no limit
    key_limit int NOT NULL DEFAULT 0,      -- the same per limit_key
    priority  int NOT NULL DEFAULT 0,
    paused    boolean NOT NULL DEFAULT false,
    at        timestamptz NOT NULL DEFAULT hw_now(),
    actor     text NOT NULL DEFAULT '',
    PRIMARY KEY (ns, queue)
);

CREATE TABLE agents (
    session      bigint NOT NULL,          -- rises at each registration and at each lease end
    lease_until  timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    slots        int NOT NULL,
    shared_slots int NOT NULL,
    live         boolean NOT NULL,
    ns           text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    host         text NOT NULL DEFAULT '',
    runtime      text NOT NULL DEFAULT '',
    degraded     text NOT NULL DEFAULT '',
    queues       text[] NOT NULL DEFAULT '{}',
    images       text[] NOT NULL DEFAULT '{}',
    missing      text[] NOT NULL DEFAULT '{}',  -- run:epoch that the last full list did not hold
    gone         text[] NOT NULL DEFAULT '{}',  -- ... nor the one before: lost, for `expire`
    PRIMARY KEY (ns, id)
) WITH (fillfactor = 50);

-- Leases end only if the store has taken writes and engines have answered beats since `since` for one whole lease.
CREATE TABLE liveness (
    id    int PRIMARY KEY CHECK (id = 1),
    since timestamptz NOT NULL,
    last  timestamptz NOT NULL
);
INSERT INTO liveness VALUES (1, hw_now(), hw_now());

CREATE TABLE deployments (
    at        timestamptz NOT NULL,
    ns        text COLLATE "C" NOT NULL,
    version   text COLLATE "C" NOT NULL,
    image     text NOT NULL DEFAULT '',
    image_tag text NOT NULL DEFAULT '',
    modules   text[] NOT NULL DEFAULT '{}',
    source    text NOT NULL DEFAULT '',
    dev       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (ns, version)
);

CREATE TABLE tasks (
    ns      text COLLATE "C" NOT NULL,
    task    text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    current boolean NOT NULL DEFAULT false,
    spec    bytea NOT NULL,                -- TaskSpec as JSON
    PRIMARY KEY (ns, task, version)
);
CREATE UNIQUE INDEX tasks_current ON tasks (ns, task) WHERE current;

-- Who this database is. After a change (restore, failover) epochs are raised by `floor` once.
CREATE TABLE meta (
    id         int PRIMARY KEY CHECK (id = 1),
    system_id  text NOT NULL,
    timeline   bigint NOT NULL,
    floor      bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL
);
