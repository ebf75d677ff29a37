-- name: load
-- Runs as the lifecycle sees them, with open once marks, and the store's clock.
SELECT v.*, hw_now() AS now FROM run_records v WHERE v.id = ANY($1::text[]);

-- name: write
-- Transitions of a batch: rows that are still at the expected event number, in id order; keys first
-- (DECISIONS A3). Events, ends, marks and the outbox row belong to the rows that were written.
WITH i AS MATERIALIZED (
       SELECT * FROM unnest($4::text[], $5::int[], $6::int[], $7::text[], $8::bigint[], $9::int[],
                            $10::int[], $11::int[], $12::int[], $13::text[], $14::text[],
                            $15::bool[], $16::text[], $17::bigint[], $18::text[],
                            $19::timestamptz[], $20::timestamptz[], $21::timestamptz[],
                            $22::timestamptz[], $23::timestamptz[], $24::timestamptz[],
                            $25::timestamptz[], $26::text[], $27::text[], $28::bool[],
                            $29::text[], $30::bool[], $57::text[])
                AS x (id, expected, n, state, epoch, failures, lost, lost_ck, unstarted, unstarted_agents,
                      version, resumed, agent, session, nonce, due_at, ttl_at, deadline_at,
                      claimed_at, started_at, attempt_at, ended_at, reason, unconfirmed,
                      free_key, failure, acked, tags)),
     k AS MATERIALIZED (
       SELECT s.ns, s.task, s.scope, s.key FROM i JOIN runs r ON r.id = i.id JOIN keys s
           ON s.ns = r.ns AND s.task = r.task AND s.scope = r.key_scope AND s.key = r.key
          AND s.run = r.id
        WHERE i.free_key ORDER BY s.ns, s.task, s.scope, s.key FOR UPDATE OF s),
     l AS MATERIALIZED (
       SELECT r.id FROM runs r JOIN i ON i.id = r.id AND i.expected = r.n
        WHERE (SELECT count(*) FROM k) >= 0 ORDER BY r.id FOR NO KEY UPDATE OF r),
     u AS (
       UPDATE runs r SET n = i.n, state = i.state, epoch = i.epoch, failures = i.failures,
              lost = i.lost, lost_ck = i.lost_ck, unstarted = i.unstarted,
              unstarted_agents = string_to_array(i.unstarted_agents, ' '), version = i.version,
              resumed = i.resumed, agent = i.agent, session = i.session, nonce = i.nonce,
              due_at = i.due_at, ttl_at = i.ttl_at, deadline_at = i.deadline_at,
              claimed_at = i.claimed_at, started_at = i.started_at, attempt_at = i.attempt_at,
              ended_at = i.ended_at, reason = i.reason, failure = i.failure, acked = i.acked,
              unconfirmed = string_to_array(i.unconfirmed, ' ')::bigint[],
              tags = CASE WHEN i.tags IS NULL THEN r.tags
                          ELSE ARRAY(SELECT json_array_elements_text(i.tags::json)) END,
              dispatch = CASE WHEN r.state = i.state THEN r.dispatch END,
              queued_at = CASE WHEN i.state = 'QUEUED' AND r.state <> 'QUEUED' THEN $3 ELSE r.queued_at END
         FROM i JOIN l ON l.id = i.id WHERE r.id = i.id RETURNING r.id, r.n),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT x.run, x.n, $3, x.kind, x.epoch, x.source, x.target, x.actor, x.data
         FROM unnest($31::text[], $32::int[], $33::text[], $34::bigint[], $35::text[], $36::text[],
                     $37::text[], $38::bytea[])
              AS x (run, n, kind, epoch, source, target, actor, data) JOIN u ON u.id = x.run),
     s AS (
       INSERT INTO results (run, size, body, ref, error)
       SELECT x.run, x.size, x.body, x.ref, x.error
         FROM unnest($39::text[], $40::bigint[], $41::bytea[], $42::bytea[], $43::bytea[])
              AS x (run, size, body, ref, error) JOIN u ON u.id = x.run),
     m AS (
       INSERT INTO marks (run, key, kind, fn, status, token, epoch, value, ref, error, due_at,
                          resolved, after, at)
       SELECT x.run, x.key, x.kind, x.fn, x.status, x.token, x.epoch, x.value, x.ref, x.error,
              x.due_at, x.resolved, x.after, $3
         FROM unnest($44::text[], $45::text[], $46::text[], $47::text[], $48::text[], $49::text[],
                     $50::bigint[], $51::bytea[], $52::bytea[], $53::bytea[], $54::timestamptz[],
                     $55::text[], $56::int[])
              AS x (run, key, kind, fn, status, token, epoch, value, ref, error, due_at, resolved,
                    after) JOIN u ON u.id = x.run
       ON CONFLICT (run, key) DO UPDATE
          SET status = excluded.status, resolved = excluded.resolved, value = excluded.value,
              epoch = excluded.epoch, due_at = excluded.due_at, at = excluded.at, run_epoch = NULL,
              fn = CASE excluded.fn WHEN '' THEN marks.fn ELSE excluded.fn END,
              token = CASE excluded.token WHEN '' THEN marks.token ELSE excluded.token END
        WHERE marks.status <> 'done'),
     f AS (
       DELETE FROM keys s USING k, u
        WHERE s.ns = k.ns AND s.task = k.task AND s.scope = k.scope AND s.key = k.key
          AND s.run = u.id),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT $3, $1, array_agg(x.run), array_agg(x.n)
         FROM unnest($31::text[], $32::int[]) AS x (run, n) JOIN u ON u.id = x.run
       HAVING count(*) > 0 RETURNING id)
SELECT u.id, (SELECT id FROM o) AS outbox FROM u;

-- name: write_end
-- The hot case of `write`: an open attempt starts or ends; no marks, no keys, few columns. What is
-- decided may come from memory: the epoch is looked at too, and the time is taken here.
WITH t AS MATERIALIZED (SELECT hw_now() AS now),
     i AS MATERIALIZED (
       SELECT * FROM unnest($3::text[], $4::int[], $5::int[], $6::text[], $7::bigint[], $8::bigint[],
                            $9::bool[], $10::bool[])
                AS x (id, expected, n, state, epoch, was, start, over)),
     l AS MATERIALIZED (
       SELECT r.id FROM runs r JOIN i ON i.id = r.id AND i.expected = r.n AND i.was = r.epoch
        ORDER BY r.id FOR NO KEY UPDATE OF r),
     u AS (
       UPDATE runs r SET n = i.n, state = i.state, epoch = i.epoch,
              unstarted = CASE WHEN i.start THEN 0 ELSE r.unstarted END,
              unstarted_agents = CASE WHEN i.start THEN '{}' ELSE r.unstarted_agents END,
              attempt_at = CASE WHEN i.start THEN t.now ELSE r.attempt_at END,
              started_at = CASE WHEN i.start THEN coalesce(r.started_at, t.now) ELSE r.started_at END,
              ttl_at = CASE WHEN i.start OR i.over THEN NULL ELSE r.ttl_at END,
              deadline_at = CASE WHEN i.over THEN NULL ELSE r.deadline_at END,
              due_at = CASE WHEN i.over THEN NULL ELSE r.due_at END,
              ended_at = CASE WHEN i.over THEN t.now ELSE r.ended_at END
         FROM t, i JOIN l ON l.id = i.id WHERE r.id = i.id RETURNING r.id, r.n),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT x.run, x.n, t.now, x.kind, x.epoch, x.source, x.target, x.actor, x.data
         FROM unnest($11::text[], $12::int[], $13::text[], $14::bigint[], $15::text[], $16::text[],
                     $17::text[], $18::bytea[])
              AS x (run, n, kind, epoch, source, target, actor, data) JOIN u ON u.id = x.run, t),
     s AS (
       INSERT INTO results (run, size, body, ref, error)
       SELECT x.run, x.size, x.body, x.ref, x.error
         FROM unnest($19::text[], $20::bigint[], $21::bytea[], $22::bytea[], $23::bytea[])
              AS x (run, size, body, ref, error) JOIN u ON u.id = x.run),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, array_agg(x.run), array_agg(x.n)
         FROM unnest($11::text[], $12::int[]) AS x (run, n) JOIN u ON u.id = x.run
       HAVING count(*) > 0 RETURNING id)
SELECT u.id, (SELECT id FROM o) AS outbox, t.now FROM u, t;

-- name: write_end_one
-- The same for one run with one event or two (started and the end): half of the time of `write_end`.
WITH u AS (
       UPDATE runs r SET n = $5::int, state = $6::text, epoch = $7::bigint,
              unstarted = CASE WHEN $9::bool THEN 0 ELSE r.unstarted END,
              unstarted_agents = CASE WHEN $9 THEN '{}' ELSE r.unstarted_agents END,
              attempt_at = CASE WHEN $9 THEN hw_now() ELSE r.attempt_at END,
              started_at = CASE WHEN $9 THEN coalesce(r.started_at, hw_now()) ELSE r.started_at END,
              ttl_at = CASE WHEN $9 OR $10::bool THEN NULL ELSE r.ttl_at END,
              deadline_at = CASE WHEN $10 THEN NULL ELSE r.deadline_at END,
              due_at = CASE WHEN $10 THEN NULL ELSE r.due_at END,
              ended_at = CASE WHEN $10 THEN hw_now() ELSE r.ended_at END
        WHERE r.id = $3 AND r.n = $4::int AND r.epoch = $8::bigint
       RETURNING r.id),
     e AS (
       INSERT INTO events (run, n, at, kind, epoch, source, target, actor, data)
       SELECT u.id, x.n, hw_now(), x.kind, x.epoch, x.source, x.target, x.actor, x.data
         FROM u, (VALUES ($11::int, $12::text, $13::bigint, $14::text, $15::text, $16::text, $17::bytea),
                         ($18::int, $19::text, $20::bigint, $21::text, $22::text, $23::text, $24::bytea))
              AS x (n, kind, epoch, source, target, actor, data)
        WHERE x.n IS NOT NULL),
     s AS (
       INSERT INTO results (run, size, body, ref, error)
       SELECT u.id, $25::bigint, $26::bytea, $27::bytea, $28::bytea FROM u WHERE $26::bytea IS NOT NULL),
     del AS (DELETE FROM outbox WHERE id = ANY($2::bigint[])),
     o AS (
       INSERT INTO outbox (at, engine, runs, numbers)
       SELECT hw_now(), $1, CASE WHEN $18::int IS NULL THEN ARRAY[id] ELSE ARRAY[id, id] END,
              CASE WHEN $18::int IS NULL THEN ARRAY[$11::int] ELSE ARRAY[$11::int, $18::int] END
         FROM u RETURNING id)
SELECT u.id, (SELECT id FROM o) AS outbox, hw_now() FROM u;
