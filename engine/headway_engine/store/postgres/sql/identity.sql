-- name: read
-- Who the server says it is, and whether our tables are there. The timeline is that of the WAL being
-- written; the control file may lag behind it after a promotion.
SELECT s.system_identifier::text AS sys,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
       END AS timeline,
       to_regclass('meta') IS NOT NULL AS migrated
  FROM pg_control_system() s;

-- name: known
-- Who it was.
SELECT system_id, timeline, floor, changed_at FROM meta WHERE id = 1;

-- name: lock
-- One engine raises the floor, the others wait and then see that it is done.
SELECT pg_advisory_xact_lock(4822001);

-- name: first
INSERT INTO meta (id, system_id, timeline, changed_at) VALUES (1, $1, $2, hw_now());

-- name: changed
UPDATE meta SET system_id = $1, timeline = $2, floor = floor + $3, changed_at = hw_now()
 WHERE id = 1;

-- name: raised
UPDATE meta SET floor = floor + $1, changed_at = hw_now() WHERE id = 1 RETURNING floor, changed_at;

-- name: raise_epochs
-- Whatever an attempt from before the change still writes is refused; beats find it missing, and its
-- run goes on. It may still be in the middle of an effect, though: like any lost attempt it counts as
-- maybe alive until its agent saw it end.
WITH l AS MATERIALIZED (
       SELECT id FROM runs WHERE ended_at IS NULL ORDER BY id FOR NO KEY UPDATE)
UPDATE runs r
   SET epoch = r.epoch + $1,
       unconfirmed = CASE WHEN r.state IN ('STARTING', 'RUNNING', 'CANCELLING')
                          THEN r.unconfirmed || r.epoch ELSE r.unconfirmed END
  FROM l WHERE r.id = l.id;
