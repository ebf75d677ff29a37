-- name: put
-- A job with its items; a plan that is there already stays as it is.
WITH j AS (
       INSERT INTO jobs (at, until, paced_at, items, ns, job, plan, state, actor, body)
       VALUES ($4, $4, $4, cardinality($8::text[]), $1, $2, $3, 'running', $5, $6)
       ON CONFLICT (ns, job) DO NOTHING RETURNING job)
INSERT INTO job_items (number, checkpoint, ns, job, run, fork, body)
SELECT x.number, x.checkpoint, $1, j.job, x.run, x.fork, x.body
  FROM j, unnest($7::int[], $8::text[], $9::text[], $10::bytea[])
          WITH ORDINALITY AS x (checkpoint, run, fork, body, number);

-- name: rows
-- Jobs with their numbers, newest first; $2 = one of them, or empty.
SELECT j.job, j.plan, j.state, j.items, j.at, j.actor, j.reason, j.approved, j.ended_at, j.body,
       count(*) FILTER (WHERE i.state = 'waiting') AS waiting,
       count(*) FILTER (WHERE i.state = 'started') AS running,
       count(*) FILTER (WHERE i.status IN ('succeeded', 'done')) AS succeeded,
       count(*) FILTER (WHERE i.state IN ('ended', 'refused')
                          AND i.status NOT IN ('succeeded', 'done')) AS failed
  FROM jobs j LEFT JOIN job_items i ON i.ns = j.ns AND i.job = j.job
 WHERE j.ns = $1 AND ($2 = '' OR j.job = $2)
 GROUP BY j.ns, j.job ORDER BY j.at DESC, j.job LIMIT 200;

-- name: items
SELECT number, run, fork, state, checkpoint, status, reason FROM job_items
 WHERE ns = $1 AND job = $2 AND number > $3 ORDER BY number LIMIT $4;

-- name: take
-- Jobs that this engine holds, or may take since nobody does; held for $2 seconds from now.
-- Those that are held or stopped too, while forks of theirs run.
WITH l AS MATERIALIZED (
       SELECT ns, job FROM jobs j
        WHERE (engine = $1 OR until <= hw_now())
          AND (state IN ('running', 'canary')
               OR state IN ('held', 'stopped') AND EXISTS (
                   SELECT FROM job_items i
                    WHERE i.ns = j.ns AND i.job = j.job AND i.state = 'started'))
        ORDER BY ns, job FOR UPDATE SKIP LOCKED)
UPDATE jobs j SET engine = $1, until = hw_now() + $2::float8 * interval '1 second'
  FROM l WHERE j.ns = l.ns AND j.job = l.job RETURNING j.ns, j.job, j.paced_at;

-- name: settle
-- Items whose fork has ended.
UPDATE job_items i SET state = 'ended', status = lower(r.state), ended_at = r.ended_at
  FROM runs r
 WHERE i.ns = $1 AND i.job = $2 AND i.state = 'started' AND r.id = i.fork
   AND r.ended_at IS NOT NULL;

-- name: latest
-- The last ends, newest first: for failures in a row.
SELECT status FROM job_items WHERE ns = $1 AND job = $2 AND state IN ('ended', 'refused')
 ORDER BY ended_at DESC, number DESC LIMIT $3;

-- name: open
-- Whether any of the first $3 items has not ended.
SELECT count(*) AS n FROM job_items
 WHERE ns = $1 AND job = $2 AND number <= $3 AND state IN ('waiting', 'started');

-- name: next
SELECT number, fork, body FROM job_items
 WHERE ns = $1 AND job = $2 AND state = 'waiting' AND number <= $4 ORDER BY number LIMIT $3;

-- name: given
-- An item was forked, or refused with a reason.
UPDATE job_items SET state = CASE $4 WHEN '' THEN 'started' ELSE 'refused' END, reason = $4,
       ended_at = CASE $4 WHEN '' THEN NULL ELSE hw_now() END
 WHERE ns = $1 AND job = $2 AND number = $3 AND state = 'waiting';

-- name: moved
-- Items that are over since their runs were moved, or refused with a reason.
UPDATE job_items i SET state = CASE x.reason WHEN '' THEN 'ended' ELSE 'refused' END,
       status = CASE x.reason WHEN '' THEN 'done' ELSE '' END, reason = x.reason,
       ended_at = hw_now()
  FROM unnest($3::int[], $4::text[]) AS x (number, reason)
 WHERE i.ns = $1 AND i.job = $2 AND i.number = x.number AND i.state = 'waiting';

-- name: paced
UPDATE jobs SET paced_at = $3 WHERE ns = $1 AND job = $2;

-- name: move
-- Only from a state that the caller has seen.
UPDATE jobs SET state = $4, reason = $5, approved = approved OR $6::bool, engine = '',
       until = hw_now(), paced_at = greatest(paced_at, hw_now()),
       ended_at = CASE WHEN $4 IN ('done', 'stopped') THEN hw_now() END
 WHERE ns = $1 AND job = $2 AND state = ANY($3::text[]) RETURNING job;
