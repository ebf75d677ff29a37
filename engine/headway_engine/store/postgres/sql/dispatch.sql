-- name: dispatch
-- One dispatcher per queue at a time: the queue's row, locked or skipped (DECISIONS D2). Heads by index:
-- those without a limit key by themselves, those with one by a jump from key to key, each with what
-- its key may still open. Open and given runs are counted only where there is a limit.
WITH RECURSIVE t AS MATERIALIZED (SELECT hw_now() AS now),
     s AS MATERIALIZED (
       SELECT ns, queue, run_limit, key_limit FROM queues
        WHERE ns = $1 AND queue = $2 AND NOT paused FOR UPDATE SKIP LOCKED),
     held AS MATERIALIZED (
       SELECT s.run_limit - CASE WHEN s.run_limit = 0 THEN 0 ELSE (
                  SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = $2
                     AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING'))
                + (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = $2
                     AND r.state = 'QUEUED' AND r.dispatch IS NOT NULL) END AS free
         FROM s),
     room AS MATERIALIZED (
       SELECT c.shared, c.room, s.key_limit,
              CASE WHEN s.run_limit = 0 THEN c.room + 0::bigint ELSE greatest(held.free, 0) END AS queue_room,
              s.run_limit
         FROM s, held, (VALUES (false, $3::int), (true, $4::int)) AS c (shared, room)
        WHERE c.room > 0),
     k (key) AS (
       (SELECT r.limit_key FROM runs r, s WHERE r.ns = $1 AND r.queue = $2 AND r.state = 'QUEUED'
           AND r.dispatch IS NULL AND r.limit_key <> '' ORDER BY r.limit_key LIMIT 1)
       UNION ALL
       SELECT (SELECT r.limit_key FROM runs r WHERE r.ns = $1 AND r.queue = $2
                  AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key <> ''
                  AND r.limit_key > k.key ORDER BY r.limit_key LIMIT 1)
         FROM k WHERE k.key IS NOT NULL),
     keyed AS MATERIALIZED (
       SELECT k.key, CASE WHEN s.key_limit = 0 THEN NULL ELSE greatest(0, s.key_limit
                - (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = $2
                      AND r.limit_key = k.key AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING'))
                - (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = $2
                      AND r.limit_key = k.key AND r.state = 'QUEUED'
                      AND r.dispatch IS NOT NULL)) END AS free
         FROM k, s WHERE k.key IS NOT NULL),
     heads AS MATERIALIZED (
       SELECT h.*, ''::text AS key, NULL::bigint AS free FROM room, LATERAL (
              SELECT r.id, r.shared, r.priority, r.resumed FROM runs r
               WHERE r.ns = $1 AND r.queue = $2 AND r.state = 'QUEUED' AND r.dispatch IS NULL
                 AND r.limit_key = '' AND r.shared = room.shared
               ORDER BY r.priority DESC, r.resumed DESC, r.id
               LIMIT least(room.room, room.queue_room)) h
       UNION ALL
       SELECT h.*, keyed.key, keyed.free FROM room, keyed, LATERAL (
              SELECT r.id, r.shared, r.priority, r.resumed FROM runs r
               WHERE r.ns = $1 AND r.queue = $2 AND r.state = 'QUEUED' AND r.dispatch IS NULL
                 AND r.limit_key <> '' AND r.limit_key = keyed.key AND r.shared = room.shared
               ORDER BY r.priority DESC, r.resumed DESC, r.id
               LIMIT least(room.room, room.queue_room, keyed.free)) h),
     per_key AS MATERIALIZED (
       SELECT h.*, row_number() OVER (PARTITION BY h.key ORDER BY h.priority DESC, h.resumed DESC, h.id) AS in_key
         FROM heads h),
     per_class AS MATERIALIZED (
       SELECT p.*, row_number() OVER (PARTITION BY p.shared ORDER BY p.priority DESC, p.resumed DESC, p.id) AS in_class
         FROM per_key p WHERE p.key = '' OR p.free IS NULL OR p.in_key <= p.free),
     chosen AS MATERIALIZED (
       SELECT c.id, c.shared, row_number() OVER (ORDER BY c.priority DESC, c.resumed DESC, c.id) AS place,
              room.run_limit, room.queue_room
         FROM per_class c JOIN room ON room.shared = c.shared WHERE c.in_class <= room.room),
     l AS MATERIALIZED (
       SELECT r.id, r.shared, chosen.place FROM runs r JOIN chosen ON chosen.id = r.id
        WHERE (chosen.run_limit = 0 OR chosen.place <= chosen.queue_room)
          AND r.state = 'QUEUED' AND r.dispatch IS NULL
        ORDER BY r.id FOR NO KEY UPDATE OF r),
     d AS (
       INSERT INTO dispatches (id, at, ns, queue, runs, shared)
       SELECT nextval('dispatch_ids'), t.now, $1, $2, array_agg(l.id ORDER BY l.place),
              array_agg(l.shared ORDER BY l.place)
         FROM l, t GROUP BY t.now RETURNING id, runs, shared),
     u AS (
       UPDATE runs r SET dispatch = d.id FROM l, d WHERE r.id = l.id)
SELECT (SELECT count(*) FROM s) AS locked, d.id, d.runs, d.shared FROM (VALUES (1)) AS one
  LEFT JOIN d ON true;

-- name: add_queue
INSERT INTO queues (ns, queue) VALUES ($1, $2) ON CONFLICT (ns, queue) DO NOTHING;

-- name: dispatched
-- These batches are in WORK.
UPDATE dispatches d SET last_seq = x.seq, stream_created = $3, at = hw_now()
  FROM unnest($1::bigint[], $2::bigint[]) AS x (id, seq) WHERE d.id = x.id;

-- name: undispatched
-- Batches older than $5 seconds: never published, or WORK's consumer is past them, or WORK ends before
-- them (at $6); and at once those in a stream that is no more. With those of their runs that nobody has claimed.
SELECT d.id, d.ns, d.queue, w.run, w.shared
  FROM dispatches d
  LEFT JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS a (ns, queue, seq)
         ON a.ns = d.ns AND a.queue = d.queue
  LEFT JOIN LATERAL (
       SELECT r.id AS run, r.shared FROM runs r
        WHERE r.id = ANY(d.runs)
          AND CASE r.state WHEN 'QUEUED' THEN r.dispatch = d.id END) w ON true
 WHERE d.at < hw_now() - $5::float8 * interval '1 second'
       AND (d.last_seq IS NULL OR d.last_seq <= a.seq OR d.last_seq > $6 OR w.run IS NULL)
    OR d.last_seq IS NOT NULL AND d.stream_created <> $4
 ORDER BY d.id, w.run LIMIT 5000;

-- name: forget
-- Spent batches: no run of them waits in WORK.
DELETE FROM dispatches d WHERE d.id = ANY($1::bigint[]);

-- name: redo
-- They are to be published again: not again before another 30 s.
UPDATE dispatches SET last_seq = NULL, at = hw_now() WHERE id = ANY($1::bigint[]);

-- name: queues
-- Settings and numbers of every queue, of all namespaces; counts come from partial indexes.
WITH w AS (
       SELECT ns, queue, sum(queued) AS queued, sum(given) AS given, sum(given_shared) AS given_shared,
              sum(open) AS open, min(oldest) AS oldest
         FROM (
              SELECT ns, queue, count(*) AS queued, 0 AS given, 0 AS given_shared, 0 AS open,
                     min(queued_at) AS oldest FROM runs
               WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key = '' GROUP BY ns, queue
              UNION ALL
              SELECT ns, queue, count(*), 0, 0, 0, min(queued_at) FROM runs
               WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '' GROUP BY ns, queue
              UNION ALL
              SELECT ns, queue, 0, count(*) FILTER (WHERE NOT shared),
                     count(*) FILTER (WHERE shared), 0, NULL FROM runs
               WHERE state = 'QUEUED' AND dispatch IS NOT NULL GROUP BY ns, queue
              UNION ALL
              SELECT ns, queue, 0, 0, 0, count(*), NULL FROM runs
               WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY ns, queue) x
        GROUP BY ns, queue),
     a AS (
       SELECT ns, q AS queue, count(*) AS agents FROM agents, unnest(queues) AS q
        WHERE live GROUP BY ns, q)
SELECT coalesce(s.ns, w.ns, a.ns) AS ns, coalesce(s.queue, w.queue, a.queue) AS queue,
       coalesce(s.run_limit, 0) AS run_limit, coalesce(s.key_limit, 0) AS key_limit,
       coalesce(s.paused, false) AS paused, coalesce(s.priority, 0) AS priority,
       coalesce(w.queued, 0)::bigint AS queued, coalesce(w.given, 0)::bigint AS given,
       coalesce(w.given_shared, 0)::bigint AS given_shared, coalesce(w.open, 0)::bigint AS open,
       w.oldest, coalesce(s.paused_by, '') AS paused_by, s.paused_at, coalesce(s.reason, '') AS reason
  FROM queues s FULL JOIN w ON w.ns = s.ns AND w.queue = s.queue
  FULL JOIN a ON a.ns = coalesce(s.ns, w.ns) AND a.queue = coalesce(s.queue, w.queue)
 ORDER BY 1, 2;
