-- Each save comes with the namespace of its agent, which only a run of that namespace takes ('' = any).
-- States are tested by CASE here: written as IN, the planner may read all of the partial index runs_open,
-- dead entries included, instead of going by id (6 ms a save were measured).

-- name: checkpoints
-- DECISIONS A1: conditional on epoch, state and number; one row lock per run, in id order. Numbers of a
-- run in one batch must be a row without gaps from its last checkpoint on. STARTING implies started.
WITH t AS MATERIALIZED (SELECT hw_now() AS now),
     i AS MATERIALIZED (
       SELECT *, count(*) OVER w AS cnt, min(ck) OVER w AS lo, max(ck) OVER w AS hi,
              row_number() OVER (PARTITION BY run, epoch ORDER BY ck) AS k
         FROM unnest($3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[], $8::bigint[],
                     $9::bytea[], $10::bytea[], $11::text[], $12::bool[], $13::bytea[], $14::text[])
              AS x (run, epoch, ck, name, sha256, size, state, ref, schema, keep, data, ns)
       WINDOW w AS (PARTITION BY run, epoch)),
     l AS MATERIALIZED (
       SELECT r.id, i.cnt, r.state = 'STARTING' AS starts
         FROM runs r JOIN i ON i.run = r.id AND i.epoch = r.epoch AND i.k = 1
        WHERE CASE r.state WHEN 'STARTING' THEN true WHEN 'RUNNING' THEN true WHEN 'CANCELLING' THEN true END
          AND r.ck = i.lo - 1 AND i.hi = i.lo + i.cnt - 1 AND (r.ns = i.ns OR i.ns = '')
        ORDER BY r.id FOR NO KEY UPDATE OF r),
     u AS (
       UPDATE runs r SET n = r.n + l.cnt + l.starts::int, ck = r.ck + l.cnt,
              state = CASE WHEN l.starts THEN 'RUNNING' ELSE r.state END,
              started_at = CASE WHEN l.starts THEN coalesce(r.started_at, t.now) ELSE r.started_at END,
              attempt_at = CASE WHEN l.starts THEN t.now ELSE r.attempt_at END,
              ttl_at = CASE WHEN l.starts THEN NULL ELSE r.ttl_at END,
              unstarted = CASE WHEN l.starts THEN 0 ELSE r.unstarted END,
              unstarted_agents = CASE WHEN l.starts THEN '{}' ELSE r.unstarted_agents END
         FROM l, t WHERE r.id = l.id
       RETURNING r.id, r.epoch, r.n - l.cnt AS base, l.starts, r.ns, r.task, r.agent, r.n),
     s AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT u.id, u.base, t.now, 'started', u.epoch, 'STARTING', 'RUNNING', 'agent:' || u.agent,
              convert_to(json_build_object('agent', u.agent)::text, 'UTF8')
         FROM u, t WHERE u.starts),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, actor, data)
       SELECT u.id, u.base + i.k, t.now, 'checkpoint', u.epoch, 'agent:' || u.agent, i.data
         FROM i JOIN u ON u.id = i.run AND u.epoch = i.epoch, t),
     c AS (
       INSERT INTO checkpoints (run, number, at, epoch, run_epoch, name, sha256, size, schema, keep,
                                ref, state)
       SELECT i.run, i.ck, t.now, i.epoch, u.epoch, i.name, i.sha256, i.size, i.schema, i.keep,
              i.ref, i.state
         FROM i JOIN u ON u.id = i.run AND u.epoch = i.epoch, t),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT t.now, $1, array_agg(u.id), array_agg(g.n)
         FROM u, t, LATERAL generate_series(u.base + (NOT u.starts)::int, u.n) AS g (n)
        GROUP BY t.now RETURNING id)
SELECT i.run, i.epoch, i.ck AS item, u.base + i.k AS n, u.starts AND i.k = 1 AS starts, u.ns, u.task,
       u.agent, t.now, (SELECT id FROM o) AS outbox
  FROM i JOIN u ON u.id = i.run AND u.epoch = i.epoch, t;

-- name: marks
-- Marks of attempts, each (run, key) once. The run's row is locked first, then the mark is written if
-- that is a legal move, then the run's event number is advanced by what was written. A done mark never
-- changes; within its epoch a mark only leaves started or open; a started mark is refused in CANCELLING.
WITH t AS MATERIALIZED (SELECT hw_now() AS now),
     i AS MATERIALIZED (
       SELECT * FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
                            $9::text[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bigint[],
                            $14::float8[], $15::int[], $16::text[], $17::bytea[], $18::text[])
                     WITH ORDINALITY
                AS x (run, epoch, key, kind, fn, status, token, value, ref, error, size, due, after,
                      event, data, ns, k)),
     l AS MATERIALIZED (
       SELECT r.id, r.epoch, r.state FROM runs r
         JOIN (SELECT DISTINCT run, epoch, ns FROM i) d ON d.run = r.id AND d.epoch = r.epoch
        WHERE CASE r.state WHEN 'STARTING' THEN true WHEN 'RUNNING' THEN true WHEN 'CANCELLING' THEN true END
          AND (r.ns = d.ns OR d.ns = '')
        ORDER BY r.id FOR NO KEY UPDATE OF r),
     w AS (
       INSERT INTO marks (run, key, at, due_at, size, epoch, run_epoch, after, kind, fn, status,
                          token, ref, error, value)
       SELECT i.run, i.key, t.now, t.now + i.due * interval '1 second', i.size, i.epoch, l.epoch,
              i.after, i.kind, i.fn, i.status, i.token, i.ref, i.error, i.value
         FROM i JOIN l ON l.id = i.run AND l.epoch = i.epoch, t
        WHERE NOT (i.status = 'started' AND l.state = 'CANCELLING')
        ORDER BY i.run, i.key
       ON CONFLICT (run, key) DO UPDATE
          SET at = excluded.at, due_at = coalesce(excluded.due_at, marks.due_at),
              size = excluded.size, epoch = excluded.epoch, run_epoch = excluded.run_epoch,
              after = CASE WHEN marks.epoch = excluded.epoch THEN marks.after ELSE excluded.after END,
              fn = excluded.fn, status = excluded.status, resolved = '', ref = excluded.ref,
              token = CASE excluded.token WHEN '' THEN marks.token ELSE excluded.token END,
              error = excluded.error, value = excluded.value
        WHERE marks.kind = excluded.kind AND marks.status <> 'done'
          AND (marks.epoch < excluded.epoch
               OR marks.epoch = excluded.epoch AND marks.status IN ('started', 'open')
                  AND excluded.status NOT IN ('started', 'open'))
       RETURNING run, key),
     g AS MATERIALIZED (
       SELECT i.run, i.epoch, i.key, i.event, i.data,
              row_number() OVER (PARTITION BY i.run ORDER BY i.k) AS k,
              count(*) OVER (PARTITION BY i.run) AS cnt
         FROM i JOIN w ON w.run = i.run AND w.key = i.key),
     c AS MATERIALIZED (
       SELECT g.run, g.cnt, l.state = 'STARTING' AS starts
         FROM g JOIN l ON l.id = g.run WHERE g.k = 1),
     u AS (
       UPDATE runs r SET n = r.n + c.cnt + c.starts::int,
              state = CASE WHEN c.starts THEN 'RUNNING' ELSE r.state END,
              started_at = CASE WHEN c.starts THEN coalesce(r.started_at, t.now) ELSE r.started_at END,
              attempt_at = CASE WHEN c.starts THEN t.now ELSE r.attempt_at END,
              ttl_at = CASE WHEN c.starts THEN NULL ELSE r.ttl_at END,
              unstarted = CASE WHEN c.starts THEN 0 ELSE r.unstarted END,
              unstarted_agents = CASE WHEN c.starts THEN '{}' ELSE r.unstarted_agents END
         FROM c, t WHERE r.id = c.run
       RETURNING r.id, r.epoch, r.n - c.cnt AS base, c.starts, r.ns, r.task, r.agent, r.n),
     s AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT u.id, u.base, t.now, 'started', u.epoch, 'STARTING', 'RUNNING', 'agent:' || u.agent,
              convert_to(json_build_object('agent', u.agent)::text, 'UTF8')
         FROM u, t WHERE u.starts),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, actor, data)
       SELECT u.id, u.base + g.k, t.now, g.event, u.epoch, 'agent:' || u.agent, g.data
         FROM g JOIN u ON u.id = g.run, t),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT t.now, $1, array_agg(u.id), array_agg(v.n)
         FROM u, t, LATERAL generate_series(u.base + (NOT u.starts)::int, u.n) AS v (n)
        GROUP BY t.now RETURNING id)
SELECT g.run, g.epoch, g.key AS item, u.base + g.k AS n, u.starts AND g.k = 1 AS starts, u.ns, u.task,
       u.agent, t.now, (SELECT id FROM o) AS outbox
  FROM g JOIN u ON u.id = g.run, t;

-- name: look_checkpoints
-- Why a checkpoint did not match: the run's epoch, state and number, and what is saved under it.
SELECT x.run, x.ck AS item, r.ns, r.task, r.epoch, r.state, r.ck, c.sha256, c.epoch AS saved_epoch
  FROM unnest($1::text[], $2::int[], $3::text[]) AS x (run, ck, ns)
  LEFT JOIN runs r ON r.id = x.run AND (r.ns = x.ns OR x.ns = '')
  LEFT JOIN checkpoints c ON c.run = r.id AND c.number = x.ck;

-- name: look_marks
-- Why a mark was not written.
SELECT x.run, x.key AS item, r.ns, r.task, r.epoch, r.state, m.kind, m.status, m.epoch AS saved_epoch
  FROM unnest($1::text[], $2::text[], $3::text[]) AS x (run, key, ns)
  LEFT JOIN runs r ON r.id = x.run AND (r.ns = x.ns OR x.ns = '')
  LEFT JOIN marks m ON m.run = r.id AND m.key = x.key;

-- name: prune
-- DECISIONS H1: the first, the last `keep_ck` and those kept by name stay. Beside the save, not in it.
WITH l AS MATERIALIZED (
       SELECT c.run, c.number, c.ref, r.ns FROM unnest($1::text[]) AS x (run)
         JOIN runs r ON r.id = x.run
         JOIN checkpoints c ON c.run = r.id AND c.number > 1 AND c.number <= r.ck - r.keep_ck
                           AND NOT c.keep
        ORDER BY c.run, c.number FOR UPDATE OF c),
     p AS (
       INSERT INTO purges (due_at, ns, run, key)
       SELECT DISTINCT hw_now() + interval '1 hour', l.ns, l.run,
              convert_from(l.ref, 'UTF8')::json->>'key'
         FROM l WHERE l.ref IS NOT NULL ORDER BY 2, 3, 4
       ON CONFLICT (ns, run, key) DO NOTHING)
DELETE FROM checkpoints c USING l WHERE c.run = l.run AND c.number = l.number;

-- name: checkpoint
-- The commonest batch, one checkpoint of a running attempt: three quarters of the time of `checkpoints`.
-- What it does not take goes through that one.
WITH u AS (
       UPDATE runs SET n = n + 1, ck = ck + 1
        WHERE id = $3 AND epoch = $4 AND ck = $5::int - 1
          AND CASE state WHEN 'RUNNING' THEN true END AND (ns = $14::text OR $14 = '')
       RETURNING id, epoch, n, ns, task, agent),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, actor, data)
       SELECT id, n, hw_now(), 'checkpoint', epoch, 'agent:' || agent, $13 FROM u),
     c AS (
       INSERT INTO checkpoints (run, number, at, epoch, run_epoch, name, sha256, size, ref, state,
                                schema, keep)
       SELECT id, $5, hw_now(), $4, epoch, $6, $7, $8, $10, $9, $11, $12 FROM u),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, ARRAY[id], ARRAY[n] FROM u RETURNING id)
SELECT id, epoch, $5::int AS item, n, false AS starts, ns, task, agent, hw_now() AS now,
       (SELECT id FROM o) AS outbox
  FROM u;

-- name: mark
-- The same for one new mark of a running attempt. The same key from another engine at this moment is a
-- unique violation: the caller then goes through `marks`.
WITH u AS (
       UPDATE runs SET n = n + 1
        WHERE id = $3 AND epoch = $4 AND CASE state WHEN 'RUNNING' THEN true END
          AND (ns = $18::text OR $18 = '')
          AND NOT EXISTS (SELECT FROM marks m WHERE m.run = $3 AND m.key = $5)
       RETURNING id, epoch, n, ns, task, agent),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, actor, data)
       SELECT id, n, hw_now(), $16, epoch, 'agent:' || agent, $17 FROM u),
     w AS (
       INSERT INTO marks (run, key, at, due_at, size, epoch, run_epoch, after, kind, fn, status,
                          token, ref, error, value)
       SELECT id, $5, hw_now(), hw_now() + $14::float8 * interval '1 second', $13, $4, epoch, $15,
              $6, $7, $8, $9, $11, $12, $10 FROM u),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, ARRAY[id], ARRAY[n] FROM u RETURNING id)
SELECT id, epoch, $5::text AS item, n, false AS starts, ns, task, agent, hw_now() AS now,
       (SELECT id FROM o) AS outbox
  FROM u;
