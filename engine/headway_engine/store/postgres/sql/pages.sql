-- name: counts
-- Live runs by state; each part has its partial index.
SELECT state, sum(n)::bigint AS n FROM (
       SELECT state, count(*) AS n FROM runs
        WHERE ns = $1 AND state = 'QUEUED' AND dispatch IS NULL AND limit_key = '' GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs
        WHERE ns = $1 AND state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '' GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs
        WHERE ns = $1 AND state = 'QUEUED' AND dispatch IS NOT NULL GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs
        WHERE ns = $1 AND state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs
        WHERE ns = $1 AND state IN ('DELAYED', 'RETRYING', 'WAITING') GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs WHERE ns = $1 AND state = 'REVIEW' GROUP BY state) x
 GROUP BY state;
