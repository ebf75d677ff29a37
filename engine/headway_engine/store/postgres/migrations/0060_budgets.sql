-- min_engine: 0.1.0
-- Budgets that a person gave to a run that had used up its task's; 0 = the task's own. They go with their run.

CREATE TABLE budgets (
    at     timestamptz NOT NULL,
    usd    float8 NOT NULL,
    tokens bigint NOT NULL,
    ns     text COLLATE "C" NOT NULL,
    run    text COLLATE "C" PRIMARY KEY,
    actor  text NOT NULL
);
