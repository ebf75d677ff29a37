-- min_engine: 0.1.0
-- Plans ask which runs a job has forked already.

CREATE INDEX job_items_run ON job_items (ns, run);
