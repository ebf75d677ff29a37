-- name: these
SELECT id, state, started_at, ended_at FROM runs WHERE ns = $1 AND id = ANY($2::text[]) ORDER BY id DESC;

-- name: since
-- When the last event of each of these runs was.
SELECT e.run, e.at FROM runs r JOIN events e ON e.run = r.id AND e.n = r.n
 WHERE r.id = ANY($1::text[]);

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

-- name: again
-- Steps that were recorded after these checkpoints, by their functions.
SELECT m.run, m.fn, count(*) AS n
  FROM unnest($1::text[], $2::int[]) AS x (run, number)
  JOIN marks m ON m.run = x.run AND m.kind = 'step' AND m.status = 'done' AND m.after >= x.number
 GROUP BY m.run, m.fn ORDER BY m.run, m.fn;

-- name: lacks
-- Members that these saved states have not; what lies in the blob store is not looked at.
SELECT c.run, k.key
  FROM unnest($1::text[], $2::int[]) AS x (run, number)
  JOIN checkpoints c ON c.run = x.run AND c.number = x.number AND c.ref IS NULL
 CROSS JOIN LATERAL (SELECT convert_from(c.state, 'UTF8')::json AS body OFFSET 0) s
 CROSS JOIN unnest($3::text[]) WITH ORDINALITY AS k (key, n)
 WHERE json_typeof(s.body) = 'object' AND s.body -> k.key IS NULL ORDER BY c.run, k.n;

-- name: forked
-- The last job that has forked each of these runs.
SELECT DISTINCT ON (i.run) i.run, i.job FROM job_items i JOIN jobs j ON j.ns = i.ns AND j.job = i.job
 WHERE i.ns = $1 AND i.run = ANY($2::text[]) AND i.state IN ('started', 'ended')
   AND i.fork <> i.run
 ORDER BY i.run, j.at DESC, i.job;
