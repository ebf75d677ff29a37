-- name: lock
-- The agent's row, before anything of it is changed.
SELECT session, live, missing FROM agents
 WHERE ns = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: register
-- A lease, under the session that the caller has decided on.
INSERT INTO agents (ns, id, session, lease_until, seen_at, live, slots, shared_slots, host, runtime,
                    queues, images)
VALUES ($1, $2, $3, hw_now() + $4 * interval '1 second', hw_now(), true, $5, $6, $7, $8, $9, $10)
ON CONFLICT (ns, id) DO UPDATE
   SET session = excluded.session, lease_until = excluded.lease_until, seen_at = excluded.seen_at,
       live = true, slots = excluded.slots, shared_slots = excluded.shared_slots,
       host = excluded.host, runtime = excluded.runtime, queues = excluded.queues,
       images = excluded.images, degraded = '', missing = '{}', gone = '{}'
 WHERE agents.session <= excluded.session
RETURNING session;

-- name: held
-- What the store gives to this agent.
SELECT id, epoch, state, session FROM runs
 WHERE ns = $1 AND agent = $2 AND state IN ('STARTING', 'RUNNING', 'CANCELLING') ORDER BY id;

-- name: beat
-- Renews the lease of a live session; its answer needs what the last full list missed. A lease that is
-- overdue is renewed too: only `expire` ends a session, since after an outage all leases are overdue
-- (DECISIONS B1).
UPDATE agents SET lease_until = hw_now() + $4 * interval '1 second', seen_at = hw_now(),
       degraded = $5, images = CASE WHEN $6::text[] IS NULL THEN images ELSE $6::text[] END
 WHERE ns = $1 AND id = $2 AND session = $3 AND live
RETURNING missing, drain;

-- name: drain
-- An operator's word, which outlives sessions: a registration does not touch it.
UPDATE agents SET drain = $3, drain_by = $4, drain_at = hw_now(), drain_reason = $5
 WHERE ns = $1 AND id = $2;

-- name: missing
-- What the agent does not hold: once noticed, the second time gone.
UPDATE agents SET missing = $4::text[],
       gone = ARRAY(SELECT DISTINCT x FROM unnest(gone || $5::text[]) AS x)
 WHERE ns = $1 AND id = $2 AND session = $3;

-- name: tick
-- The clock of leases: it starts anew when no engine ticked for $1 seconds (an outage of the store, of
-- NATS, or of all engines; a restart of Postgres is one too), or when the store's clock went back. A
-- jump ahead of $2, what went by on the engine's own clock, by more than $3 seconds is not time that
-- attempts have used.
WITH v AS MATERIALIZED (
       SELECT hw_now() - last AS passed FROM liveness WHERE id = 1 FOR NO KEY UPDATE),
     j AS MATERIALIZED (
       SELECT passed - $2::float8 * interval '1 second' AS ahead FROM v
        WHERE passed - $2::float8 * interval '1 second' > $3 * interval '1 second'),
     l AS MATERIALIZED (
       SELECT id FROM runs WHERE state IN ('STARTING', 'RUNNING') AND EXISTS (SELECT FROM j)
        ORDER BY id FOR NO KEY UPDATE),
     s AS (
       UPDATE runs r SET claimed_at = r.claimed_at + j.ahead, attempt_at = r.attempt_at + j.ahead
         FROM l, j WHERE r.id = l.id)
UPDATE liveness SET last = hw_now(),
       since = CASE WHEN abs(extract(epoch FROM v.passed)) > $1 THEN hw_now() ELSE since END
  FROM v WHERE id = 1
RETURNING (pg_current_wal_flush_lsn() - '0/0')::bigint AS flushed,
          (SELECT extract(epoch FROM j.ahead)::float8 FROM j) AS ahead;

-- name: forget_outbox
-- Spent rows of an engine that is idle.
DELETE FROM outbox WHERE id = ANY($1::bigint[]);

-- name: expire
-- Ends leases that are over. Claims hold a key-share lock on the agent's row: FOR UPDATE waits for them
-- and looks at the deadline again. Nothing ends before the clock of leases has run for one lease. More
-- than $3 seconds are left of no lease but one that was given before the clock went back.
WITH l AS MATERIALIZED (
       SELECT a.ns, a.id FROM agents a
        WHERE a.live AND (a.lease_until <= hw_now()
                          OR a.lease_until > hw_now() + $3 * interval '1 second')
          AND EXISTS (SELECT FROM liveness v WHERE v.id = 1
                         AND hw_now() - v.since >= $1 * interval '1 second'
                         AND hw_now() - v.last < $2 * interval '1 second')
        ORDER BY a.ns, a.id FOR UPDATE OF a SKIP LOCKED)
UPDATE agents a SET live = false, session = a.session + 1, missing = '{}', gone = '{}'
  FROM l WHERE a.ns = l.ns AND a.id = l.id RETURNING a.ns, a.id;

-- name: orphans
-- Open attempts of sessions that are over (a new statement, so that it sees every claim that came
-- before the end), and those that beats found missing twice.
SELECT r.id, r.epoch, 'lease' AS why FROM runs r JOIN agents a ON a.ns = r.ns AND a.id = r.agent
 WHERE r.state IN ('STARTING', 'RUNNING', 'CANCELLING') AND r.session < a.session
UNION ALL
SELECT r.id, r.epoch, 'gone' FROM agents a, unnest(a.gone) AS g
  JOIN runs r ON r.id = split_part(g, ':', 1) AND r.epoch = split_part(g, ':', 2)::bigint
 WHERE r.agent = a.id AND r.ns = a.ns AND r.session = a.session
   AND r.state IN ('STARTING', 'RUNNING', 'CANCELLING')
 LIMIT 2000;

-- name: settled
-- What was gone has been dealt with.
WITH l AS MATERIALIZED (
       SELECT ns, id FROM agents WHERE gone <> '{}' ORDER BY ns, id FOR NO KEY UPDATE)
UPDATE agents a SET gone = ARRAY(SELECT x FROM unnest(a.gone) AS x WHERE NOT x = ANY($1::text[]))
  FROM l WHERE a.ns = l.ns AND a.id = l.id;

-- name: agents
-- Agents of a namespace, or of all; those without a lease stay in sight for a day.
SELECT a.*, a.lease_until > hw_now() AND a.live AS alive, coalesce(o.open, 0) AS open
  FROM agents a
  LEFT JOIN (SELECT ns, agent, count(*) AS open FROM runs
              WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING') GROUP BY ns, agent) o
         ON o.ns = a.ns AND o.agent = a.id
 WHERE ($1 = '' OR a.ns = $1) AND a.seen_at > hw_now() - interval '1 day'
 ORDER BY a.ns, a.id;
