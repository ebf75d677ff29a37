-- name: load
-- What a claim needs to know of its runs: the record, whether it was dispatched, its queue's settings and
-- open attempts, and the body, the last checkpoint and the marks that the attempt starts with.
SELECT v.*, hw_now() AS now, p.body, p.ref AS body_ref, c.number, c.name, c.schema, c.state AS ck_state,
       c.ref AS ck_ref, coalesce(s.paused, false) AS paused,
       CASE WHEN coalesce(s.run_limit, 0) = 0 THEN -1 ELSE s.run_limit - (
            SELECT count(*) FROM runs r WHERE r.ns = v.ns AND r.queue = v.queue
               AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING')) END AS queue_free,
       CASE WHEN coalesce(s.key_limit, 0) = 0 OR v.limit_key = '' THEN -1 ELSE s.key_limit - (
            SELECT count(*) FROM runs r WHERE r.ns = v.ns AND r.queue = v.queue
               AND r.limit_key = v.limit_key
               AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING')) END AS key_free,
       EXISTS (SELECT FROM marks m WHERE m.run = v.id) AS marked,
       EXISTS (SELECT FROM early_cancels c WHERE c.ns = v.ns AND c.run = v.id) AS cancelled
  FROM run_records v
  LEFT JOIN payloads p ON p.run = v.id
  LEFT JOIN checkpoints c ON c.run = v.id AND c.number = v.ck AND v.ck > 0
  LEFT JOIN queues s ON s.ns = v.ns AND s.queue = v.queue
 WHERE v.id = ANY($2::text[]) AND v.ns = $1;

-- name: session
-- Is this session's lease live? No row: the session is over. Only `expire` ends one: an overdue lease is
-- what every agent has right after an outage.
SELECT lease_until > hw_now() AS valid FROM agents
 WHERE ns = $1 AND id = $2 AND session = $3 AND live;

-- name: write
-- DECISIONS B2: the agent's row is share-locked with its session and lease checked, so that a claim and
-- the end of the lease exclude each other. Refused runs lose their dispatch in the same commit. A run
-- that was not loaded ($7) is taken only if its queue is open and has no limits. A cancel that crossed
-- the enqueue is not known to the run's row yet: it is looked for here, so that no attempt begins.
WITH t AS MATERIALIZED (SELECT hw_now() AS now),
     a AS MATERIALIZED (
       SELECT 1 FROM agents WHERE ns = $3 AND id = $4 AND session = $5 AND live
           AND lease_until > hw_now() FOR KEY SHARE),
     i AS MATERIALIZED (
       SELECT * FROM unnest($8::text[], $9::int[], $10::bigint[], $11::text[], $12::float8[],
                            $13::int[], $14::bytea[], $7::bool[])
                AS x (id, expected, epoch, version, timeout_s, keep_ck, data, unread)),
     s AS MATERIALIZED (
       SELECT queue FROM queues WHERE ns = $3 AND (paused OR run_limit > 0 OR key_limit > 0)
          AND EXISTS (SELECT FROM i WHERE i.unread)),
     l AS MATERIALIZED (
       SELECT r.id, r.n FROM runs r
         LEFT JOIN i ON i.id = r.id
        WHERE r.id = ANY($8::text[] || $15::text[]) AND r.ns = $3 AND EXISTS (SELECT FROM a)
          AND r.state = 'QUEUED'
          AND (i.id IS NULL OR i.expected = r.n AND i.epoch = r.epoch + 1
               AND NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = $3 AND c.run = r.id))
          AND NOT (coalesce(i.unread, false)
                   AND (r.dispatch IS NULL OR r.queue IN (SELECT s.queue FROM s)))
        ORDER BY r.id FOR NO KEY UPDATE OF r),
     u AS (
       UPDATE runs r SET n = r.n + 1, epoch = i.epoch, state = 'STARTING', agent = $4, session = $5,
              nonce = $6, version = i.version, claimed_at = t.now, attempt_at = NULL, dispatch = NULL,
              timeout_s = i.timeout_s, keep_ck = i.keep_ck
         FROM t, i JOIN l ON l.id = i.id WHERE r.id = i.id RETURNING r.id, r.n, r.epoch, r.queued_at),
     x AS (
       UPDATE runs r SET dispatch = NULL FROM l
        WHERE r.id = l.id AND r.id = ANY($15::text[]) AND r.dispatch IS NOT NULL RETURNING r.id),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT u.id, u.n, t.now, 'starting', u.epoch, 'QUEUED', 'STARTING', 'agent:' || $4, i.data
         FROM t, u JOIN i ON i.id = u.id),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, array_agg(u.id), array_agg(u.n) FROM u HAVING count(*) > 0
       RETURNING id)
SELECT (SELECT count(*) FROM a) AS live, u.id, (SELECT id FROM o) AS outbox, t.now, u.queued_at
  FROM t LEFT JOIN u ON true;

-- name: write_one
-- The same for one run that is taken: half of the time of `write`.
WITH a AS MATERIALIZED (
       SELECT 1 FROM agents WHERE ns = $3 AND id = $4 AND session = $5 AND live
           AND lease_until > hw_now() FOR KEY SHARE),
     u AS (
       UPDATE runs r SET n = r.n + 1, epoch = $10, state = 'STARTING', agent = $4, session = $5,
              nonce = $6, version = $11, claimed_at = hw_now(), attempt_at = NULL, dispatch = NULL,
              timeout_s = $12, keep_ck = $13
        WHERE r.id = $8 AND r.ns = $3 AND EXISTS (SELECT FROM a) AND r.state = 'QUEUED'
          AND r.n = $9 AND r.epoch = $10 - 1
          AND NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = $3 AND c.run = $8)
          AND NOT ($7 AND (r.dispatch IS NULL OR r.queue IN (
                   SELECT s.queue FROM queues s
                    WHERE s.ns = $3 AND (s.paused OR s.run_limit > 0 OR s.key_limit > 0))))
       RETURNING r.id, r.n, r.epoch, r.queued_at),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT id, n, hw_now(), 'starting', epoch, 'QUEUED', 'STARTING', 'agent:' || $4, $14 FROM u),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, ARRAY[id], ARRAY[n] FROM u RETURNING id)
SELECT (SELECT count(*) FROM a) AS live, u.id, (SELECT id FROM o) AS outbox, hw_now() AS now, u.queued_at
  FROM (SELECT) t LEFT JOIN u ON true;

-- name: marks
-- A page of marks in key order; sizes are kept in view by the caller.
SELECT run, key, kind, fn, status, token, epoch, value, ref, error, due_at, resolved
  FROM marks WHERE run = $1 AND key > $2 ORDER BY key LIMIT $3;

-- name: epoch
SELECT epoch FROM runs WHERE id = $1 AND ns = $2;
