-- name: due
-- Blobs whose time has come, and whether a row names them still: those stay. What an engine took and
-- did not finish within five minutes is taken again.
WITH l AS MATERIALIZED (
       SELECT id FROM purges
        WHERE due_at <= hw_now() AND (taken IS NULL OR taken < hw_now() - interval '5 minutes')
        ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED),
     u AS (
       UPDATE purges p SET taken = hw_now() FROM l WHERE p.id = l.id
       RETURNING p.id, p.ns, p.run, p.key)
SELECT u.id, u.ns, u.run, u.key,
       CASE u.key WHEN '' THEN EXISTS (SELECT FROM runs r WHERE r.id = u.run AND r.ns = u.ns)
       ELSE EXISTS (
          SELECT FROM (SELECT ref FROM checkpoints WHERE run = u.run
                       UNION ALL SELECT ref FROM marks WHERE run = u.run
                       UNION ALL SELECT ref FROM payloads WHERE run = u.run
                       UNION ALL SELECT ref FROM results WHERE run = u.run) x
           WHERE x.ref IS NOT NULL AND convert_from(x.ref, 'UTF8')::json->>'key' = u.key)
       END AS named
  FROM u ORDER BY u.id;

-- name: done
-- They are removed, or were kept.
DELETE FROM purges p USING (SELECT id FROM purges WHERE id = ANY($1::bigint[])
                             ORDER BY id FOR UPDATE) l
 WHERE p.id = l.id;

-- name: keep
-- This blob is written again: it is not to be removed. A row comes back if that is happening now.
WITH l AS MATERIALIZED (
       SELECT id, taken FROM purges WHERE ns = $1 AND run = $2 AND key = $3 ORDER BY id FOR UPDATE),
     d AS (DELETE FROM purges p USING l WHERE p.id = l.id AND l.taken IS NULL)
SELECT id FROM l WHERE taken IS NOT NULL;

-- name: later
-- Blobs that nobody names: copies made for one answer.
INSERT INTO purges (due_at, ns, run, key)
SELECT hw_now() + interval '1 day', $1, $2, x.key FROM unnest($3::text[]) AS x (key) ORDER BY x.key
ON CONFLICT (ns, run, key) DO NOTHING;

-- name: unnamed
-- Of these runs, those of which nothing speaks: the rows are looked up by their primary keys.
SELECT x.ns, x.run FROM unnest($1::text[], $2::text[]) AS x (ns, run)
 WHERE NOT EXISTS (SELECT FROM runs r WHERE r.id = x.run)
   AND NOT EXISTS (SELECT FROM outcomes o WHERE o.ns = x.ns AND o.run = x.run)
   AND NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = x.ns AND c.run = x.run)
   AND NOT EXISTS (SELECT FROM purges p WHERE p.ns = x.ns AND p.run = x.run);
