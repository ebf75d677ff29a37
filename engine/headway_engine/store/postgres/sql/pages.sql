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

-- name: live
-- The same of all namespaces that have a queue, each by itself: every part of it has its index.
SELECT q.ns, x.state, sum(x.n)::bigint AS n
  FROM (SELECT ns FROM queues UNION SELECT ns FROM agents) q,
       LATERAL (
       SELECT state, count(*) AS n FROM runs r
        WHERE r.ns = q.ns AND state = 'QUEUED' AND dispatch IS NULL AND limit_key = '' GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs r
        WHERE r.ns = q.ns AND state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '' GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs r
        WHERE r.ns = q.ns AND state = 'QUEUED' AND dispatch IS NOT NULL GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs r
        WHERE r.ns = q.ns AND state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY state
       UNION ALL
       SELECT state, count(*) FROM runs r
        WHERE r.ns = q.ns AND state IN ('DELAYED', 'RETRYING', 'WAITING', 'REVIEW') GROUP BY state) x
 GROUP BY q.ns, x.state;
