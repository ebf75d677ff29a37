-- name: positions
SELECT site, seq, stream, head, contact_at, as_of, skipped, problem FROM headway_sites.site_positions;

-- name: begin
-- A site is here from its first look on.
INSERT INTO headway_sites.site_positions (site) VALUES ($1) ON CONFLICT (site) DO NOTHING;

-- name: position
-- One engine writes for a site at a time; no row = another one does.
SELECT site, seq, stream, head, contact_at, as_of, skipped, problem
  FROM headway_sites.site_positions WHERE site = $1 FOR UPDATE SKIP LOCKED;

-- name: advance
UPDATE headway_sites.site_positions SET seq = $2, skipped = skipped + $3 WHERE site = $1;

-- name: heard
-- Two engines may look at once: the later look stays.
UPDATE headway_sites.site_positions
   SET stream = $2, head = $3, contact_at = greatest(contact_at, $4), as_of = greatest(as_of, $5)
 WHERE site = $1 AND stream IN ('', $2);

-- name: halt
UPDATE headway_sites.site_positions SET problem = $2 WHERE site = $1;

-- name: owner
SELECT site FROM headway_sites.runs WHERE ns = $1 AND id = $2;

-- name: owners
SELECT id, site FROM headway_sites.runs WHERE ns = $1 AND id = ANY($2);

-- name: known
-- What decides about these runs.
SELECT site, run, record FROM headway_sites.site_records WHERE run = ANY($1);

-- name: forget_payloads
DELETE FROM headway_sites.payloads WHERE run = ANY($1);

-- name: forget_results
DELETE FROM headway_sites.results WHERE run = ANY($1);

-- name: forget_events
DELETE FROM headway_sites.events WHERE run = ANY($1);

-- name: forget_checkpoints
DELETE FROM headway_sites.checkpoints WHERE run = ANY($1);

-- name: forget_marks
DELETE FROM headway_sites.marks WHERE run = ANY($1);

-- name: forget_usage
DELETE FROM headway_sites.usage WHERE run = ANY($1);

-- name: forget_runs
-- Before their rows are written again: a copy makes several moves at once, which no trigger knows.
DELETE FROM headway_sites.runs WHERE id = ANY($1);

-- name: put_record
INSERT INTO headway_sites.site_records (site, run, record)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) ON CONFLICT (run) DO UPDATE SET record = excluded.record;

-- name: put_run
INSERT INTO headway_sites.runs (
    created_at, due_at, ttl_at, deadline_at, claimed_at, started_at, attempt_at, ended_at, epoch,
    dispatch, session, timeout_s, n, ck, failures, lost, lost_ck, unstarted, priority, keep_ck,
    shared, resumed, keep_key, id, ns, task, queue, state, limit_key, version, agent, nonce, reason,
    parent, root, origin, key, key_scope, reply, trace, unconfirmed, unstarted_agents, tags,
    queued_at, failure, acked, site)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38,
        $39, $40, $41, $42, $43, $44, $45, $46, $47);

-- name: put_payload
INSERT INTO headway_sites.payloads (run, hash, schema, body, ref)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
ON CONFLICT (run) DO NOTHING;

-- name: put_result
INSERT INTO headway_sites.results (run, size, body, ref, error)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[])
ON CONFLICT (run) DO UPDATE
   SET size = excluded.size, body = excluded.body, ref = excluded.ref, error = excluded.error;

-- name: put_event
-- Most of what there is to write: all of a page in one statement.
INSERT INTO headway_sites.events (run, n, at, kind, epoch, source, target, actor, data)
SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::text[], $5::bigint[], $6::text[],
                     $7::text[], $8::text[], $9::bytea[])
ON CONFLICT (run, n) DO NOTHING;

-- name: put_checkpoint
INSERT INTO headway_sites.checkpoints (run, number, name, sha256, size, epoch, run_epoch, at, schema,
                                       keep, ref, state)
SELECT run, number, name, sha256, size, epoch, epoch, at, schema, keep, ref, state
  FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
              $7::timestamptz[], $8::text[], $9::boolean[], $10::bytea[], $11::bytea[])
       AS c (run, number, name, sha256, size, epoch, at, schema, keep, ref, state)
ON CONFLICT (run, number) DO UPDATE
   SET name = excluded.name, sha256 = excluded.sha256, size = excluded.size, epoch = excluded.epoch,
       run_epoch = excluded.run_epoch, at = excluded.at, schema = excluded.schema,
       keep = excluded.keep, ref = excluded.ref, state = excluded.state;

-- name: drop_checkpoint
DELETE FROM headway_sites.checkpoints WHERE run = $1 AND number = $2;

-- name: put_mark
INSERT INTO headway_sites.marks (run, key, kind, fn, status, epoch, at, token, size, after, ref, error,
                                 due_at, resolved, value)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (run, key) DO UPDATE
   SET kind = excluded.kind, fn = excluded.fn, status = excluded.status, epoch = excluded.epoch,
       at = excluded.at, token = excluded.token, size = excluded.size, after = excluded.after,
       ref = excluded.ref, error = excluded.error, due_at = excluded.due_at,
       resolved = excluded.resolved, value = excluded.value;

-- name: put_usage
INSERT INTO headway_sites.usage (run, epoch, model, ns, task, at, tokens_in, tokens_out, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (run, epoch, model) DO UPDATE
   SET at = excluded.at, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out,
       cost_usd = excluded.cost_usd;

-- name: prune_purges
DELETE FROM headway_sites.purges;

-- name: prune_records
-- Of runs that are past the hub's own retention.
DELETE FROM headway_sites.site_records s USING (
       SELECT t.run FROM headway_sites.tombstones t
         JOIN headway_sites.site_records r ON r.run = t.run
        WHERE NOT EXISTS (SELECT FROM headway_sites.runs x WHERE x.id = t.run)
        ORDER BY t.run LIMIT $1) l
 WHERE s.run = l.run;
