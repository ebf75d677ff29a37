-- name: get
SELECT * FROM run_records WHERE id = $2 AND ns = $1;

-- name: find
-- Ids that begin so; at most three, to see whether there is one.
SELECT id FROM runs WHERE id >= $2 AND id < $2 || '~' AND ns = $1 ORDER BY id LIMIT 3;

-- name: bodies
-- Payload and result of one run.
SELECT p.body AS payload, p.ref AS payload_ref, p.hash, p.schema, s.body AS result,
       s.ref AS result_ref
  FROM payloads p LEFT JOIN results s ON s.run = p.run WHERE p.run = $1;

-- name: events
SELECT e.n, e.at, e.kind, e.epoch, e.source, e.target, e.actor, e.data
  FROM events e JOIN runs r ON r.id = e.run AND r.ns = $1
 WHERE e.run = $2 AND e.n > $3 ORDER BY e.n LIMIT $4;

-- name: checkpoints
SELECT c.number, c.name, c.size, c.at, c.epoch, c.sha256, c.schema
  FROM checkpoints c JOIN runs r ON r.id = c.run AND r.ns = $1
 WHERE c.run = $2 ORDER BY c.number;

-- name: state
-- One checkpoint with its body; 0 = the last.
SELECT c.number, c.name, c.size, c.at, c.epoch, c.sha256, c.schema, c.state, c.ref
  FROM checkpoints c JOIN runs r ON r.id = c.run AND r.ns = $1
 WHERE c.run = $2 AND c.number = CASE WHEN $3::int = 0 THEN r.ck ELSE $3::int END;

-- name: marks
SELECT m.key, m.kind, m.fn, m.status, m.epoch, m.at, m.token, m.size
  FROM marks m JOIN runs r ON r.id = m.run AND r.ns = $1
 WHERE m.run = $2 ORDER BY m.at, m.key;

-- name: mark_page
-- Marks with their values, in order of their keys.
SELECT m.key, m.kind, m.at, m.fn, m.status, m.token, m.after, m.epoch, m.size, m.value, m.ref,
       m.error, m.due_at, m.resolved
  FROM marks m JOIN runs r ON r.id = m.run AND r.ns = $1
 WHERE m.run = $2 AND m.key > $3 ORDER BY m.key LIMIT $4;

-- name: early_cancel
INSERT INTO early_cancels (at, ns, run, actor, reason) VALUES (hw_now(), $1, $2, $3, $4)
ON CONFLICT (ns, run) DO NOTHING;

-- name: set_queue
-- Absent settings stay as they are; who paused or resumed it stays until the next one does.
INSERT INTO queues AS q (ns, queue, run_limit, key_limit, paused, priority, at, actor, paused_by,
                         paused_at, reason)
VALUES ($1, $2, coalesce($3::int, 0), coalesce($4::int, 0), coalesce($5::bool, false),
        coalesce($6::int, 0), hw_now(), $7, CASE WHEN $5::bool IS NULL THEN '' ELSE $7 END,
        CASE WHEN $5::bool IS NOT NULL THEN hw_now() END, CASE WHEN $5::bool THEN $8 ELSE '' END)
ON CONFLICT (ns, queue) DO UPDATE
   SET run_limit = coalesce($3::int, q.run_limit), key_limit = coalesce($4::int, q.key_limit),
       paused = coalesce($5::bool, q.paused), priority = coalesce($6::int, q.priority),
       at = hw_now(), actor = $7,
       paused_by = CASE WHEN $5::bool IS NULL THEN q.paused_by ELSE $7 END,
       paused_at = CASE WHEN $5::bool IS NULL THEN q.paused_at ELSE hw_now() END,
       reason = CASE WHEN $5::bool IS NULL THEN q.reason WHEN $5::bool THEN $8 ELSE '' END;

-- name: queue_rows
-- Queues of a namespace with their numbers ($2 = one queue, or empty).
WITH q AS (
       SELECT queue FROM queues WHERE ns = $1
       UNION SELECT unnest(queues) FROM agents WHERE ns = $1 AND live
       UNION SELECT queue FROM runs WHERE ns = $1 AND state = 'QUEUED' AND dispatch IS NULL AND limit_key = ''
       UNION SELECT queue FROM runs WHERE ns = $1 AND state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '')
SELECT q.queue, coalesce(s.run_limit, 0) AS run_limit, coalesce(s.key_limit, 0) AS key_limit,
       coalesce(s.paused, false) AS paused, coalesce(s.priority, 0) AS priority,
       (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue AND r.state = 'QUEUED'
           AND r.dispatch IS NULL AND r.limit_key = '')
     + (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue AND r.state = 'QUEUED'
           AND r.dispatch IS NULL AND r.limit_key <> '') AS queued,
       (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue AND r.state = 'QUEUED'
           AND r.dispatch IS NOT NULL) AS given,
       (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue
           AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING')) AS open,
       (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue
           AND r.state = 'RETRYING') AS retrying,
       (SELECT count(*) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue
           AND r.state = 'DELAYED') AS delayed,
       (SELECT count(*) FROM agents a WHERE a.ns = $1 AND a.live AND a.lease_until > hw_now()
           AND a.drain = '' AND q.queue = ANY(a.queues)) AS agents,
       least((SELECT min(r.queued_at) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue
                 AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key = ''),
             (SELECT min(r.queued_at) FROM runs r WHERE r.ns = $1 AND r.queue = q.queue
                 AND r.state = 'QUEUED' AND r.dispatch IS NULL AND r.limit_key <> '')) AS oldest_at,
       coalesce(s.paused_by, '') AS paused_by, s.paused_at, coalesce(s.reason, '') AS reason,
       hw_now() AS at
  FROM q LEFT JOIN queues s ON s.ns = $1 AND s.queue = q.queue
 WHERE $2 = '' OR q.queue = $2 ORDER BY q.queue;

-- name: named_queues
-- Queues that a deployed task, an agent or a setting names.
SELECT queue FROM queues WHERE ns = $1 UNION SELECT unnest(queues) FROM agents WHERE ns = $1;

-- name: images
-- Versions whose image an agent has.
SELECT d.version, d.image FROM deployments d WHERE d.ns = $1 AND d.image <> '';

-- name: facts
SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_standby_names') = '' AND EXISTS (
           SELECT FROM pg_stat_replication WHERE state = 'streaming') AS trails,
       (SELECT max(version) FROM schema) AS schema,
       (SELECT s.system_identifier::text || '-' || d.oid FROM pg_control_system() s, pg_database d
         WHERE d.datname = current_database()) AS identity;

-- name: kin
-- Its replays and forks; runs of its class that were made since then (they failed later yet), and when the
-- first one of the class failed. By index alone, at most $5 of each.
SELECT (SELECT count(*) FROM (
           SELECT FROM runs WHERE ns = $1 AND origin = $2 AND origin <> '' LIMIT $5) f) AS forks,
       (SELECT count(*) FROM (
           SELECT FROM runs WHERE ns = $1 AND failure = $3 AND failure <> '' AND ended_at >= $4
              AND created_at >= $4 LIMIT $5) a) AS alike,
       (SELECT min(ended_at) FROM runs WHERE ns = $1 AND failure = $3 AND failure <> '') AS first_at;

-- name: fork_checkpoints
-- What a fork may start from.
SELECT number, name, size, at, epoch, sha256, schema, ref FROM checkpoints WHERE run = $1 ORDER BY number;

-- name: fork_marks
-- What a fork may keep: done marks with the number of the checkpoint before them.
SELECT key, kind, after, ref FROM marks WHERE run = $1 AND status = 'done' ORDER BY key;
