-- name: read
-- What is acknowledged here is on the disk, whatever the server's default says.
-- Which tables these are: a restored dump has other oids than what was dumped. The timeline is that of
-- the WAL being written; the control file may lag behind it after a promotion. `flushed` survives every
-- crash that the settings survive.
SELECT concat_ws('/', s.system_identifier, d.oid, to_regclass('meta')::oid) AS sys,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
       END AS timeline,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0' END::bigint
           AS flushed,
       to_regclass('meta') IS NOT NULL AS migrated,
       CASE current_setting('synchronous_commit')
            WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END AS commits
  FROM pg_control_system() s, pg_database d WHERE d.datname = current_database();

-- name: known
-- Who it was.
SELECT system_id, timeline, floor, changed_at FROM meta WHERE id = 1;

-- name: lock
-- One engine raises the floor, the others wait and then see that it is done.
SELECT pg_advisory_xact_lock(4822001);

-- name: patient
-- Raising the epochs of a million live runs takes longer than any other statement may.
SET LOCAL statement_timeout = 0;

-- name: first
INSERT INTO meta (id, system_id, timeline, changed_at) VALUES (1, $1, $2, hw_now());

-- name: changed
UPDATE meta SET system_id = $1, timeline = $2, floor = floor + $3, changed_at = hw_now()
 WHERE id = 1;

-- name: raised
UPDATE meta SET floor = floor + $1, changed_at = hw_now() WHERE id = 1 RETURNING floor, changed_at;

-- name: raise_epochs
-- No epoch of the lost part is given out again. What this copy has as open was given out before the
-- copy was taken, to nobody else: that attempt goes on, and the floor is for what comes after it.
WITH l AS MATERIALIZED (
       SELECT id, state IN ('STARTING', 'RUNNING', 'CANCELLING') AS open FROM runs
        WHERE ended_at IS NULL ORDER BY id FOR NO KEY UPDATE)
UPDATE runs r SET epoch = CASE WHEN l.open THEN r.epoch ELSE r.epoch + $1 END,
       floor = CASE WHEN l.open THEN greatest(r.epoch, r.floor) + $1 ELSE 0 END
  FROM l WHERE r.id = l.id;
