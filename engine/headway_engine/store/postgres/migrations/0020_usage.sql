-- min_engine: 0.1.0
-- What attempts have used: totals per attempt and model, which only grow. An attempt tells its totals, not
-- differences, so that telling them twice counts once. They go with their run.

CREATE TABLE usage (
    at         timestamptz NOT NULL,       -- when it was told last
    epoch      bigint NOT NULL,
    tokens_in  bigint NOT NULL,
    tokens_out bigint NOT NULL,
    cost_usd   float8 NOT NULL,
    run        text COLLATE "C" NOT NULL,
    ns         text COLLATE "C" NOT NULL,
    task       text COLLATE "C" NOT NULL,
    model      text COLLATE "C" NOT NULL,
    PRIMARY KEY (run, epoch, model)
);
CREATE INDEX usage_by_time ON usage (ns, at);
