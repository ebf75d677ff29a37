-- min_engine: 0.1.0
-- Lists tell which job made a run, and are asked for the runs of a job.

CREATE INDEX job_items_fork ON job_items (ns, fork) WHERE fork <> run;
