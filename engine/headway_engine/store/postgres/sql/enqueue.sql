-- name: insert
-- New runs with payload, first event, outbox row; those that may be dispatched at once ($5) and whose
-- queue is open get a dispatch. Known ids and ids with an early cancel are left out: the caller looks
-- at what is missing. An array that holds nothing but its default comes empty, one that holds the
-- same value for all (task, queue, created_at, reply, schema) comes with that one.
WITH t AS MATERIALIZED (SELECT hw_now() AS now),
     i AS MATERIALIZED (
       SELECT id, coalesce(task, ($4::text[])[1]) AS task, coalesce(give, false) AS give,
              coalesce(queue, ($6::text[])[1]) AS queue,
              coalesce(created_at, ($7::timestamptz[])[1]) AS created_at, due_at, ttl_at,
              deadline_at, coalesce(shared, false) AS shared, coalesce(priority, 0) AS priority,
              coalesce(limit_key, '') AS limit_key, coalesce(version, '') AS version,
              coalesce(parent, '') AS parent, coalesce(nullif(root, ''), id) AS root,
              coalesce(origin, '') AS origin, coalesce(key, '') AS key,
              coalesce(key_scope, '') AS key_scope, coalesce(keep_key, false) AS keep_key,
              coalesce(reply, ($21::text[])[1]) AS reply, coalesce(trace, '') AS trace,
              coalesce(tags, '') AS tags, hash,
              coalesce(schema, ($25::text[])[1]) AS schema, payload, ref, coalesce(epoch, 0) AS epoch,
              data, coalesce(cancelled, false) AS cancelled
         FROM unnest($3::text[], $4::text[], $5::bool[], $6::text[], $7::timestamptz[],
                            $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::bool[],
                            $12::int[], $13::text[], $14::text[], $15::text[], $16::text[],
                            $17::text[], $18::text[], $19::text[], $20::bool[], $21::text[],
                            $22::text[], $23::text[], $24::text[], $25::text[], $26::bytea[],
                            $27::bytea[], $28::bigint[], $29::bytea[], $30::bool[])
                AS x (id, task, give, queue, created_at, due_at, ttl_at, deadline_at, shared,
                      priority, limit_key, version, parent, root, origin, key, key_scope, keep_key,
                      reply, trace, tags, hash, schema, payload, ref, epoch, data, cancelled)),
     q AS MATERIALIZED (
       SELECT g.queue, nextval('dispatch_ids') AS id
         FROM (SELECT DISTINCT queue FROM i WHERE give) g
         LEFT JOIN queues s ON s.ns = $2 AND s.queue = g.queue
        WHERE NOT coalesce(s.paused OR s.run_limit > 0 OR s.key_limit > 0, false)
          AND NOT EXISTS (SELECT FROM runs r WHERE r.ns = $2 AND r.queue = g.queue
                             AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key = '')
          AND NOT EXISTS (SELECT FROM runs r WHERE r.ns = $2 AND r.queue = g.queue
                             AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key <> '')),
     ins AS (
       INSERT INTO runs (created_at, due_at, ttl_at, deadline_at, ended_at, epoch, dispatch, n,
                         priority, shared, keep_key, id, ns, task, queue, state, limit_key, version,
                         reason, parent, root, origin, key, key_scope, reply, trace, tags)
       SELECT i.created_at, i.due_at, i.ttl_at, i.deadline_at, NULL, i.epoch, q.id, 1,
              i.priority, i.shared, i.keep_key, i.id, $2, i.task, i.queue,
              CASE WHEN i.due_at IS NULL THEN 'QUEUED' ELSE 'DELAYED' END,
              i.limit_key, i.version, '', i.parent, i.root, i.origin, i.key, i.key_scope, i.reply,
              i.trace,
              CASE i.tags WHEN '' THEN '{}' ELSE ARRAY(SELECT json_array_elements_text(i.tags::json))
              END
         FROM i CROSS JOIN t LEFT JOIN q ON i.give AND q.queue = i.queue
        WHERE (i.cancelled
               OR NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = $2 AND c.run = i.id))
          AND (i.created_at > t.now - interval '1 day'
               OR NOT EXISTS (SELECT FROM tombstones d WHERE d.ns = $2 AND d.run = i.id))
        ORDER BY i.id
       ON CONFLICT (id) DO NOTHING RETURNING id, dispatch),
     p AS (
       INSERT INTO payloads (run, hash, schema, body, ref)
       SELECT i.id, i.hash, i.schema, i.payload, i.ref FROM i JOIN ins ON ins.id = i.id),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, target, data)
       SELECT i.id, 1, t.now, CASE WHEN i.due_at IS NULL THEN 'queued' ELSE 'delayed' END, i.epoch,
              CASE WHEN i.due_at IS NULL THEN 'QUEUED' ELSE 'DELAYED' END, i.data
         FROM i JOIN ins ON ins.id = i.id, t),
     d AS (
       INSERT INTO dispatches (id, at, ns, queue, runs, shared)
       SELECT q.id, t.now, $2, q.queue, array_agg(i.id ORDER BY i.id),
              array_agg(i.shared ORDER BY i.id)
         FROM ins JOIN i ON i.id = ins.id JOIN q ON q.id = ins.dispatch, t GROUP BY q.id, q.queue, t.now),
     del AS (DELETE FROM outbox WHERE id = ANY($31::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT t.now, $1, array_agg(ins.id), array_agg(1) FROM ins, t GROUP BY t.now RETURNING id)
SELECT ins.id, ins.dispatch, t.now, (SELECT id FROM o) AS outbox FROM ins, t;

-- name: one
-- `insert` for one run that is not delayed: the same rows and rules for half the cost, since there
-- are no arrays to open and nothing to join. $3: it may be dispatched at once.
WITH q AS MATERIALIZED (
       SELECT nextval('dispatch_ids') AS id
        WHERE $3::bool
          AND NOT EXISTS (SELECT FROM queues s WHERE s.ns = $2 AND s.queue = $6
                             AND (s.paused OR s.run_limit > 0 OR s.key_limit > 0))
          AND NOT EXISTS (SELECT FROM runs r WHERE r.ns = $2 AND r.queue = $6
                             AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key = '')
          AND NOT EXISTS (SELECT FROM runs r WHERE r.ns = $2 AND r.queue = $6
                             AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key <> '')),
     ins AS (
       INSERT INTO runs (created_at, ttl_at, deadline_at, epoch, dispatch, n, priority, shared,
                         keep_key, id, ns, task, queue, state, limit_key, version, parent, root,
                         origin, key, key_scope, reply, trace, tags)
       SELECT $7::timestamptz, $8::timestamptz, $9::timestamptz, $10::bigint, (SELECT id FROM q), 1,
              $11::int, $12::bool, $13::bool, $4::text, $2::text, $5::text, $6::text, 'QUEUED',
              $14::text, $15::text, $16::text, $17::text, $18::text, $19::text, $20::text, $21::text,
              $22::text, $23::text[]
        WHERE NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = $2 AND c.run = $4)
          AND ($7 > hw_now() - interval '1 day'
               OR NOT EXISTS (SELECT FROM tombstones d WHERE d.ns = $2 AND d.run = $4))
       ON CONFLICT (id) DO NOTHING RETURNING id, dispatch),
     p AS (
       INSERT INTO payloads (run, hash, schema, body, ref)
       SELECT id, $24::text, $25::text, $26::bytea, $27::bytea FROM ins),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, target)
       SELECT id, 1, hw_now(), 'queued', $10, 'QUEUED' FROM ins),
     d AS (
       INSERT INTO dispatches (id, at, ns, queue, runs, shared)
       SELECT dispatch, hw_now(), $2, $6, ARRAY[id], ARRAY[$12] FROM ins WHERE dispatch IS NOT NULL),
     del AS (DELETE FROM outbox WHERE id = ANY($28::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1::text, ARRAY[id], ARRAY[1] FROM ins RETURNING id)
SELECT id, dispatch, hw_now() AS now, (SELECT id FROM o) AS outbox FROM ins;

-- name: look
-- What is there of these ids: run, payload hash, early cancel, tombstone.
SELECT x.id, r.ns, r.state, p.hash, c.actor, c.reason,
       EXISTS (SELECT FROM tombstones d WHERE d.ns = $1 AND d.run = x.id) AS removed
  FROM unnest($2::text[]) AS x (id)
  LEFT JOIN runs r ON r.id = x.id
  LEFT JOIN payloads p ON p.run = x.id
  LEFT JOIN early_cancels c ON c.ns = $1 AND c.run = x.id;

-- name: take_keys
-- DECISIONS C1, first statement: sorted, so that two engines never deadlock. A window is over when
-- the new enqueue was accepted after it, not when it is looked at.
INSERT INTO keys (ns, task, scope, key, run, hash, until, at)
SELECT $1, x.task, x.scope, x.key, x.run, x.hash, x.until, x.at
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
              $8::timestamptz[]) AS x (task, scope, key, run, hash, until, at)
 ORDER BY x.task, x.scope, x.key
ON CONFLICT (ns, task, scope, key) DO UPDATE
   SET run = excluded.run, hash = excluded.hash, until = excluded.until, at = excluded.at
 WHERE keys.until <= excluded.at OR keys.run = excluded.run
RETURNING task, scope, key;

-- name: key_holders
-- DECISIONS C1, second statement: a new snapshot, who holds the rest.
SELECT k.task, k.scope, k.key, k.run, k.hash, r.ended_at IS NOT NULL AS ended
  FROM unnest($2::text[], $3::text[], $4::text[]) AS x (task, scope, key)
  JOIN keys k ON k.ns = $1 AND k.task = x.task AND k.scope = x.scope AND k.key = x.key
  LEFT JOIN runs r ON r.id = k.run;

-- name: alias
-- The outcome of a duplicate: its id leads to the winner.
INSERT INTO outcomes (at, ns, run, winner) SELECT hw_now(), $1, x.run, x.winner
  FROM unnest($2::text[], $3::text[]) AS x (run, winner) ORDER BY x.run
ON CONFLICT (ns, run) DO NOTHING;

-- name: reject
-- The outcome of a refused enqueue.
INSERT INTO outcomes (at, ns, run, code, reason) VALUES (hw_now(), $1, $2, $3, $4)
ON CONFLICT (ns, run) DO NOTHING;

-- name: hold_source
-- The run that is forked, held against its removal, if its checkpoint $3 is there (0 = none needed).
SELECT FROM runs r
 WHERE r.id = $2 AND r.ns = $1
   AND ($3::int = 0 OR EXISTS (SELECT FROM checkpoints c WHERE c.run = $2 AND c.number = $3::int))
   FOR KEY SHARE OF r;

-- name: fork_event
UPDATE events SET kind = 'forked', data = $2 WHERE run = $1 AND n = 1;

-- name: fork_marks
-- Done marks that a fork keeps; large values were copied under the new run.
INSERT INTO marks (run, key, kind, fn, status, token, epoch, at, due_at, size, after, resolved, ref,
                   error, value)
SELECT $2, key, kind, fn, status, token, 0, hw_now(), due_at, size, least(after, $4::int), resolved,
       convert_to(replace(convert_from(ref, 'UTF8'), '/' || $1 || '/', '/' || $2 || '/'), 'UTF8'),
       error, value
  FROM marks WHERE run = $1 AND key = ANY($3::text[])
ON CONFLICT (run, key) DO NOTHING;

-- name: fork_checkpoints
-- Checkpoints up to $3, under epoch 0: no attempt of the new run wrote them. If $4, the state of the
-- last one is an edited one.
WITH c AS (
       INSERT INTO checkpoints (run, number, at, epoch, run_epoch, keep, name, sha256, size, schema,
                                ref, state)
       SELECT $2, c.number, c.at, 0, 0, c.keep, c.name,
              CASE WHEN x.edited THEN $5 ELSE c.sha256 END,
              CASE WHEN x.edited THEN $6::bigint ELSE c.size END, c.schema,
              CASE WHEN x.edited THEN $7::bytea
                   ELSE convert_to(replace(convert_from(c.ref, 'UTF8'), '/' || $1 || '/',
                                           '/' || $2 || '/'), 'UTF8') END,
              CASE WHEN x.edited THEN $8::bytea ELSE c.state END
         FROM checkpoints c, LATERAL (SELECT $4::bool AND c.number = $3::int AS edited) x
        WHERE c.run = $1 AND c.number <= $3::int)
UPDATE runs SET ck = $3::int WHERE id = $2;

-- name: given_marks
-- Done marks that a new run begins with.
INSERT INTO marks (run, key, kind, fn, status, token, epoch, at, due_at, size, after, resolved, ref,
                   error, value)
SELECT $1, x.key, x.kind, x.fn, 'done', x.token, 0, hw_now(), x.due_at, x.size, x.after, x.resolved,
       x.ref, x.error, x.value
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[],
              $8::int[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[])
       AS x (key, kind, fn, token, due_at, size, after, resolved, ref, error, value)
ON CONFLICT (run, key) DO NOTHING;

-- name: given_checkpoint
-- The checkpoint that a new run begins with, under epoch 0: no attempt of it wrote it.
WITH c AS (
       INSERT INTO checkpoints (run, number, at, epoch, run_epoch, keep, name, sha256, size, schema,
                                ref, state)
       VALUES ($1, $2, hw_now(), 0, 0, true, $3, $4, $5, $6, $7, $8))
UPDATE runs SET ck = $2 WHERE id = $1;

-- name: ends
-- Ended runs with their results, the state of the others, aliases and refusals.
SELECT x.id, r.state, r.ended_at IS NOT NULL AS ended, s.body, s.ref, s.error, o.winner, o.code,
       o.reason
  FROM unnest($2::text[]) AS x (id)
  LEFT JOIN runs r ON r.id = x.id AND r.ns = $1
  LEFT JOIN results s ON s.run = x.id AND r.ended_at IS NOT NULL
  LEFT JOIN outcomes o ON o.ns = $1 AND o.run = x.id AND r.id IS NULL;
