-- min_engine: 0.1.0
-- Blobs to remove, and ids of runs that were removed.

-- One blob (key), or all blobs of a run (key ''). Blobs outlive the rows that named them for a while.
CREATE TABLE purges (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at timestamptz NOT NULL,
    taken  timestamptz,                    -- an engine removes it since then; NULL = nobody
    ns     text COLLATE "C" NOT NULL,
    run    text COLLATE "C" NOT NULL,
    key    text COLLATE "C" NOT NULL DEFAULT '',
    UNIQUE (ns, run, key)
);
CREATE INDEX purges_due ON purges (due_at);

-- Ids of runs that were pruned: an old enqueue that comes again does not run again.
CREATE TABLE tombstones (
    at  timestamptz NOT NULL,
    ns  text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, run)
);
CREATE INDEX tombstones_at ON tombstones (at);
