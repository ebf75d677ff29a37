-- name: these
SELECT id, state FROM runs WHERE ns = $1 AND id = ANY($2::text[]) ORDER BY id DESC;

-- name: last_checkpoints
-- The last one of each of these runs.
SELECT c.* FROM unnest($1::text[]) AS x (id)
  CROSS JOIN LATERAL (SELECT run, number, name, size, at, epoch, sha256 FROM checkpoints
                       WHERE run = x.id ORDER BY number DESC LIMIT 1) c;

-- name: checkpoints
SELECT run, number, name, size, at, epoch, sha256 FROM checkpoints
 WHERE run = ANY($1::text[]) ORDER BY run, number;

-- name: failures
-- Their failed attempts, as `failures_of` finds them among events.
SELECT e.run, e.at, e.error->>'type' AS type
  FROM (SELECT run, n, at, (convert_from(data, 'UTF8')::json)->'error' AS error FROM events
         WHERE run = ANY($1::text[]) AND kind IN ('retrying', 'failed', 'timed_out', 'review')) e
 WHERE json_typeof(e.error) = 'object' ORDER BY e.run, e.n;

-- name: once
-- Done once marks.
SELECT run, key FROM marks
 WHERE run = ANY($1::text[]) AND kind = 'once' AND status = 'done' ORDER BY run, key;

-- name: forked
-- The last job that has forked each of these runs.
SELECT DISTINCT ON (i.run) i.run, i.job FROM job_items i JOIN jobs j ON j.ns = i.ns AND j.job = i.job
 WHERE i.ns = $1 AND i.run = ANY($2::text[]) AND i.state IN ('started', 'ended')
   AND i.fork <> i.run
 ORDER BY i.run, j.at DESC, i.job;
