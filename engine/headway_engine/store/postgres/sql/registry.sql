-- name: spec
-- A task's spec under a version, the current one if $3 is empty, with how to start it.
SELECT t.version, t.spec, d.image, d.modules, d.source, d.dev
  FROM tasks t JOIN deployments d ON d.ns = t.ns AND d.version = t.version
 WHERE t.ns = $1 AND t.task = $2 AND CASE WHEN $3 = '' THEN t.current ELSE t.version = $3 END;

-- name: deploy
-- A version; registering it again (development) replaces how it is started.
INSERT INTO deployments (at, ns, version, image, image_tag, modules, source, dev)
VALUES (hw_now(), $1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (ns, version) DO UPDATE
   SET at = excluded.at, image = excluded.image, image_tag = excluded.image_tag,
       modules = excluded.modules, source = excluded.source, dev = excluded.dev;

-- name: retire
-- The tasks' current versions are current no more.
WITH l AS MATERIALIZED (
       SELECT ns, task, version FROM tasks WHERE ns = $1 AND task = ANY($2::text[]) AND current
        ORDER BY ns, task, version FOR UPDATE)
UPDATE tasks t SET current = false FROM l
 WHERE t.ns = l.ns AND t.task = l.task AND t.version = l.version;

-- name: tasks
-- The tasks of a version, now current.
INSERT INTO tasks (ns, task, version, current, spec)
SELECT $1, x.task, $2, true, x.spec FROM unnest($3::text[], $4::bytea[]) AS x (task, spec)
 ORDER BY x.task
ON CONFLICT (ns, task, version) DO UPDATE SET current = true, spec = excluded.spec;

-- name: queues
-- The queues that tasks name, so that they are seen before the first run.
INSERT INTO queues (ns, queue) SELECT $1, x.queue FROM unnest($2::text[]) AS x (queue)
 ORDER BY x.queue ON CONFLICT (ns, queue) DO NOTHING;

-- name: deployments
-- Newest first, with the live runs that are pinned to each.
SELECT d.version, d.image, d.image_tag, d.at, d.dev,
       coalesce(t.tasks, '{}') AS tasks, coalesce(t.current, false) AS current,
       coalesce(r.live, 0) AS live
  FROM deployments d
  LEFT JOIN LATERAL (SELECT array_agg(task ORDER BY task) AS tasks, bool_or(current) AS current
                       FROM tasks WHERE ns = d.ns AND version = d.version) t ON true
  LEFT JOIN (SELECT version, count(*) AS live FROM runs
              WHERE ns = $1 AND ended_at IS NULL AND version <> '' GROUP BY version) r
         ON r.version = d.version
 WHERE d.ns = $1 ORDER BY d.at DESC, d.version DESC LIMIT 200;
