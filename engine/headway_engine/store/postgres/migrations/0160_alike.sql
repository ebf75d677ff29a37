-- min_engine: 0.1.0
-- How many runs failed alike, and since when. Nothing that a run pays for unless it fails.

CREATE INDEX runs_alike ON runs (ns, failure, ended_at, created_at) WHERE failure <> '';
