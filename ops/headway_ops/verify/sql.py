"""What the checker asks Postgres. Reads only; values are parameters, nothing is joined here."""

from __future__ import annotations

SCHEMA = "SELECT max(version) FROM schema"

CLOCK = "SELECT hw_now()"

RUNS = """
SELECT r.id, r.ns, r.task, r.queue, r.state, r.created_at, r.version, r.due_at, r.ttl_at,
       r.deadline_at, r.claimed_at, r.started_at, r.attempt_at, r.ended_at, r.epoch, r.n, r.ck,
       r.failures, r.keep_ck, r.timeout_s, r.dispatch, r.agent, r.session, r.reason, r.key,
       r.key_scope, r.root, r.origin, EXISTS (SELECT FROM results s WHERE s.run = r.id) AS result,
       r.tags
  FROM runs r WHERE r.id > $1 AND r.id <= $2 AND ($3 = '' OR r.ns = $3) ORDER BY r.id LIMIT $4
"""
"""A page in the order of the primary key. The columns of `facts.Run`."""

RUNS_BY_ID = """
SELECT r.id, r.ns, r.task, r.queue, r.state, r.created_at, r.version, r.due_at, r.ttl_at,
       r.deadline_at, r.claimed_at, r.started_at, r.attempt_at, r.ended_at, r.epoch, r.n, r.ck,
       r.failures, r.keep_ck, r.timeout_s, r.dispatch, r.agent, r.session, r.reason, r.key,
       r.key_scope, r.root, r.origin, EXISTS (SELECT FROM results s WHERE s.run = r.id) AS result,
       r.tags
  FROM runs r WHERE r.id = ANY($1::text[]) ORDER BY r.id
"""

EVENTS = """
SELECT run, n, at, kind, epoch, source, target, actor, data FROM events
 WHERE run = ANY($1::text[]) ORDER BY run, n
"""

CHECKPOINTS = """
SELECT run, number, epoch, run_epoch, size, sha256, ref, keep,
       CASE WHEN ref IS NULL THEN encode(sha256(state), 'hex') ELSE '' END AS found,
       octet_length(state) AS found_size
  FROM checkpoints WHERE run = ANY($1::text[]) ORDER BY run, number
"""

MARKS = """
SELECT run, key, kind, status, epoch, run_epoch, token, resolved, at, ref FROM marks
 WHERE run = ANY($1::text[]) ORDER BY run, key
"""

BODIES = """
SELECT run, 'payload' AS what, ref FROM payloads WHERE run = ANY($1::text[]) AND ref IS NOT NULL
 UNION ALL
SELECT run, 'result', ref FROM results WHERE run = ANY($1::text[]) AND ref IS NOT NULL
"""

HOLDERS = """
SELECT r.id, k.run, k.at, k.until FROM runs r
  JOIN keys k ON k.ns = r.ns AND k.task = r.task AND k.scope = r.key_scope AND k.key = r.key
 WHERE r.id = ANY($1::text[]) AND r.key <> ''
"""

LIVE = """
SELECT r.id, coalesce(q.paused, false) AS paused, a.lease_until,
       r.dispatch IS NULL OR d.id IS NOT NULL AS dispatched
  FROM runs r
  LEFT JOIN queues q ON q.ns = r.ns AND q.queue = r.queue
  LEFT JOIN agents a ON a.ns = r.ns AND a.id = r.agent AND a.session = r.session
  LEFT JOIN dispatches d ON d.id = r.dispatch
 WHERE r.id = ANY($1::text[])
"""

POLICY = """
SELECT t.spec, d.at FROM tasks t JOIN deployments d ON d.ns = t.ns AND d.version = t.version
 WHERE t.ns = $1 AND t.task = $2 AND t.version = $3
"""

ACKED_RUNS = """
SELECT x.id, r.id IS NOT NULL AS there, p.hash,
       CASE WHEN s.ref IS NULL THEN encode(sha256(s.body), 'hex') END AS result, s.ref,
       EXISTS (SELECT FROM tombstones t WHERE t.run = x.id AND t.ns = x.ns) AS pruned,
       o.winner, o.code
  FROM unnest($1::text[], $2::text[]) AS x (id, ns)
  LEFT JOIN runs r ON r.id = x.id
  LEFT JOIN payloads p ON p.run = x.id
  LEFT JOIN results s ON s.run = x.id
  LEFT JOIN outcomes o ON o.run = x.id AND o.ns = x.ns
"""

ACKED_CHECKPOINTS = """
SELECT c.run, c.number, c.sha256, c.epoch
  FROM unnest($1::text[], $2::int[]) AS x (run, number)
  JOIN checkpoints c ON c.run = x.run AND c.number = x.number
"""

ACKED_MARKS = """
SELECT m.run, m.key, m.status, m.epoch, m.ref,
       CASE WHEN m.ref IS NULL THEN encode(sha256(m.value), 'hex') END AS found
  FROM unnest($1::text[], $2::text[]) AS x (run, key)
  JOIN marks m ON m.run = x.run AND m.key = x.key
"""

OUTBOX = """
SELECT x.run, x.n, o.engine, extract(epoch FROM hw_now() - o.at)::float8 AS age
  FROM outbox o, unnest(o.runs, o.numbers) AS x (run, n)
 WHERE o.at < hw_now() - $1 * interval '1 second' ORDER BY o.id LIMIT 1000
"""

TOLD = """
SELECT x.run, x.n, r.id IS NOT NULL AS there, e.kind, e.epoch, e.source, e.target,
       EXISTS (SELECT FROM tombstones t WHERE t.ns = x.ns AND t.run = x.run) AS pruned
  FROM unnest($1::text[], $2::int[], $3::text[]) AS x (run, n, ns)
  LEFT JOIN runs r ON r.id = x.run
  LEFT JOIN events e ON e.run = x.run AND e.n = x.n
"""

STATES = "SELECT id, state, n FROM runs WHERE id = ANY($1::text[])"

SERVED = """
SELECT EXISTS (SELECT FROM agents WHERE ns = $1 AND $2 = ANY(queues) AND live
                  AND lease_until > hw_now() AND drain = '')
"""
"""Does an agent take work from this queue?"""

AGENTS = "SELECT ns, id, live, lease_until, hw_now() AS now FROM agents"

UNNAMED = """
SELECT x.ns, x.run FROM unnest($1::text[], $2::text[]) AS x (ns, run)
 WHERE NOT EXISTS (SELECT FROM runs r WHERE r.id = x.run)
   AND NOT EXISTS (SELECT FROM outcomes o WHERE o.ns = x.ns AND o.run = x.run)
   AND NOT EXISTS (SELECT FROM early_cancels c WHERE c.ns = x.ns AND c.run = x.run)
   AND NOT EXISTS (SELECT FROM purges p WHERE p.ns = x.ns AND p.run = x.run)
"""

LIMITS = """
SELECT ns, queue, run_limit, key_limit, at FROM queues
 WHERE (run_limit > 0 OR key_limit > 0) AND ($1 = '' OR ns = $1) ORDER BY ns, queue
"""

OPENINGS = """
SELECT e.run, e.n, e.at, e.source, e.target, r.limit_key
  FROM events e JOIN runs r ON r.id = e.run
 WHERE r.ns = $1 AND r.queue = $2 AND e.at > $3 AND e.target <> ''
   AND (e.source IN ('STARTING', 'RUNNING', 'CANCELLING'))
       <> (e.target IN ('STARTING', 'RUNNING', 'CANCELLING'))
 ORDER BY e.at, e.target IN ('STARTING', 'RUNNING', 'CANCELLING'), e.run, e.n
"""
"""What opened and closed attempts of a queue, in the order of time; at the same time ends first."""
