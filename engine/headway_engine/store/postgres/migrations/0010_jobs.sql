-- min_engine: 0.1.0
-- Replay jobs: a plan that is carried out at its own pace, by whichever engine holds the job.

CREATE TABLE jobs (
    at          timestamptz NOT NULL,
    until       timestamptz NOT NULL,         -- the engine that holds it does so until then
    paced_at    timestamptz NOT NULL,         -- items have been given out for the time before it
    ended_at    timestamptz,
    items       int NOT NULL,
    approved    boolean NOT NULL DEFAULT false,
    ns          text COLLATE "C" NOT NULL,
    job         text COLLATE "C" NOT NULL,
    plan        text COLLATE "C" NOT NULL,    -- sha256
    state       text COLLATE "C" NOT NULL CHECK (state IN (
                    'running', 'canary', 'held', 'stopped', 'done')),
    engine      text COLLATE "C" NOT NULL DEFAULT '',
    actor       text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    body        bytea NOT NULL,               -- the plan without its items
    PRIMARY KEY (ns, job)
);
CREATE INDEX jobs_live ON jobs (until) WHERE state IN ('running', 'canary');

CREATE TABLE job_items (
    ended_at    timestamptz,
    number      int NOT NULL,
    checkpoint  int NOT NULL,
    ns          text COLLATE "C" NOT NULL,
    job         text COLLATE "C" NOT NULL,
    run         text COLLATE "C" NOT NULL,    -- the original
    fork        text COLLATE "C" NOT NULL,    -- the new run's id
    state       text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN (
                    'waiting', 'started', 'ended', 'refused')),
    status      text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    body        bytea NOT NULL,               -- PlanItem as JSON
    PRIMARY KEY (ns, job, number)
);
CREATE INDEX job_items_open ON job_items (ns, job, number) WHERE state IN ('waiting', 'started');
CREATE INDEX job_items_ended ON job_items (ns, job, ended_at) WHERE state IN ('ended', 'refused');
