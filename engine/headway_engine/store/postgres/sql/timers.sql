-- name: due
-- Runs whose time has come, oldest first.
SELECT id FROM runs
 WHERE state IN ('DELAYED', 'RETRYING', 'WAITING') AND due_at <= hw_now()
 ORDER BY due_at LIMIT $1;

-- name: next_due
-- When the next one is due, and the time now.
SELECT (SELECT min(due_at) FROM runs
         WHERE state IN ('DELAYED', 'RETRYING', 'WAITING') AND due_at > hw_now()) AS next,
       hw_now() AS now;

-- name: overdue
-- TTL and deadline from their index; the rest from the open attempts.
(SELECT id FROM runs
  WHERE ended_at IS NULL AND (ttl_at IS NOT NULL OR deadline_at IS NOT NULL)
    AND least(ttl_at, deadline_at) <= hw_now() AND state <> 'CANCELLING'
    AND (deadline_at <= hw_now() OR started_at IS NULL AND state IN ('QUEUED', 'DELAYED'))
  ORDER BY least(ttl_at, deadline_at) LIMIT $1)
UNION
(SELECT id FROM runs WHERE state IN ('STARTING', 'RUNNING', 'CANCELLING')
    -- Time that no engine has seen pass is looked at first (`tick`): it may be the clock that was set.
    AND EXISTS (SELECT FROM liveness v WHERE v.id = 1 AND hw_now() - v.last < $4 * interval '1 second')
    AND (state = 'STARTING' AND claimed_at <= hw_now() - $2 * interval '1 second'
         OR state = 'RUNNING'
            AND attempt_at <= hw_now() - (timeout_s + $3) * interval '1 second')
  LIMIT $1);

-- name: unpublished
-- What no engine has published, with the outbox rows that it is in.
SELECT o.id AS outbox, x.run, x.number, r.ns, r.task, r.queue
  FROM (SELECT * FROM outbox WHERE at < hw_now() - $1 * interval '1 second' ORDER BY id LIMIT 200) o,
       unnest(o.runs, o.numbers) AS x (run, number) LEFT JOIN runs r ON r.id = x.run
 ORDER BY o.id;

-- name: events_of
SELECT e.run, e.n, e.at, e.kind, e.epoch, e.source, e.target, e.actor, e.data
  FROM unnest($1::text[], $2::int[]) AS x (run, n) JOIN events e ON e.run = x.run AND e.n = x.n
 ORDER BY e.run, e.n;

-- name: prune_keys
-- A day beyond their window, for what was accepted in it and is recorded late.
DELETE FROM keys k USING (SELECT ns, task, scope, key FROM keys
                           WHERE until < hw_now() - interval '1 day'
                           ORDER BY ns, task, scope, key LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE k.ns = l.ns AND k.task = l.task AND k.scope = l.scope AND k.key = l.key;

-- name: late_cancels
-- No statement is under way for minutes: what is older was seen, or looked at before.
SELECT c.ns, c.run, c.actor, c.reason FROM early_cancels c
  JOIN runs r ON r.id = c.run AND r.ns = c.ns
 WHERE c.at > hw_now() - interval '10 minutes' AND r.ended_at IS NULL AND r.state <> 'CANCELLING'
 ORDER BY c.run LIMIT $1;

-- name: prune_outcomes
DELETE FROM outcomes o USING (SELECT ns, run FROM outcomes WHERE at < hw_now() - interval '7 days'
                               ORDER BY ns, run LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE o.ns = l.ns AND o.run = l.run;

-- name: prune_cancels
DELETE FROM early_cancels c USING (SELECT ns, run FROM early_cancels
                                    WHERE at < hw_now() - interval '7 days'
                                    ORDER BY ns, run LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE c.ns = l.ns AND c.run = l.run;

-- name: prune_tombstones
DELETE FROM tombstones t USING (SELECT ns, run FROM tombstones WHERE at < hw_now() - interval '30 days'
                                 ORDER BY ns, run LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE t.ns = l.ns AND t.run = l.run;

-- name: prune_dispatches
-- Published long ago and nothing of them is queued under them any more.
DELETE FROM dispatches d USING (
       SELECT p.id FROM dispatches p
        WHERE p.at < hw_now() - interval '30 seconds'
          AND NOT EXISTS (SELECT FROM runs r WHERE r.id = ANY(p.runs)
                             AND CASE r.state WHEN 'QUEUED' THEN r.dispatch = p.id END)
        ORDER BY p.id LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE d.id = l.id;

-- name: prune_runs
-- Runs that ended before $2; ids are in the order of time, so the oldest ones come first ($3: an id
-- made at that time). Their blobs go a day later, their ids stay as tombstones.
WITH l AS MATERIALIZED (
       SELECT id, ns FROM runs WHERE id < $3 AND ended_at < $2 ORDER BY id LIMIT $1
          FOR UPDATE SKIP LOCKED),
     g AS (
       INSERT INTO tombstones (at, ns, run) SELECT hw_now(), ns, id FROM l ORDER BY ns, id
       ON CONFLICT (ns, run) DO NOTHING),
     b AS (
       INSERT INTO purges (due_at, ns, run)
       SELECT hw_now() + interval '1 day', l.ns, l.id FROM l
        WHERE EXISTS (SELECT FROM payloads x WHERE x.run = l.id AND x.ref IS NOT NULL)
           OR EXISTS (SELECT FROM results x WHERE x.run = l.id AND x.ref IS NOT NULL)
           OR EXISTS (SELECT FROM checkpoints x WHERE x.run = l.id AND x.ref IS NOT NULL)
           OR EXISTS (SELECT FROM marks x WHERE x.run = l.id AND x.ref IS NOT NULL)
        ORDER BY l.ns, l.id
       ON CONFLICT (ns, run, key) DO NOTHING),
     p AS (DELETE FROM payloads x USING l WHERE x.run = l.id),
     s AS (DELETE FROM results x USING l WHERE x.run = l.id),
     e AS (DELETE FROM events x USING l WHERE x.run = l.id),
     c AS (DELETE FROM checkpoints x USING l WHERE x.run = l.id),
     u AS (DELETE FROM usage x USING l WHERE x.run = l.id),
     w AS (DELETE FROM budgets x USING l WHERE x.run = l.id),
     m AS (DELETE FROM marks x USING l WHERE x.run = l.id)
DELETE FROM runs r USING l WHERE r.id = l.id;

-- name: prune_items
-- Items of jobs that ended before $2: in batches, a plan may have many.
DELETE FROM job_items i USING (
       SELECT x.ns, x.job, x.number FROM jobs j JOIN job_items x ON x.ns = j.ns AND x.job = j.job
        WHERE j.ended_at < $2 ORDER BY x.ns, x.job, x.number LIMIT $1 FOR UPDATE OF x SKIP LOCKED) l
 WHERE i.ns = l.ns AND i.job = l.job AND i.number = l.number;

-- name: prune_jobs
-- Jobs that ended before $2 and have no items any more.
DELETE FROM jobs d USING (
       SELECT ns, job FROM jobs j
        WHERE j.ended_at < $2
          AND NOT EXISTS (SELECT FROM job_items i WHERE i.ns = j.ns AND i.job = j.job)
        ORDER BY ns, job LIMIT $1 FOR UPDATE SKIP LOCKED) l
 WHERE d.ns = l.ns AND d.job = l.job;

-- name: analyze
-- Plans of a growing table go wrong without statistics (4.5 to 7.6 ms a run were measured).
ANALYZE runs, payloads, events, checkpoints, marks, dispatches;

-- name: grown
-- Rows changed since the statistics were made.
SELECT coalesce(sum(n_mod_since_analyze), 0)::bigint AS changed, coalesce(sum(n_live_tup), 0)::bigint AS live
  FROM pg_stat_user_tables WHERE relname IN ('runs', 'events', 'checkpoints', 'marks');
