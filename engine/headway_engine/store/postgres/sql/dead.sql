-- name: classes
-- Dead letters by class, the largest first ($2: a class is of one task; $3: at most so many). Only
-- dead letters are read, from their index; what most of them had reached, from the newest of each.
WITH t AS MATERIALIZED (
       SELECT failure, task, count(*) AS n, min(ended_at) AS first_at, max(ended_at) AS last_at
         FROM runs WHERE ns = $1 AND failure <> '' AND NOT acked GROUP BY failure, task),
     c AS MATERIALIZED (
       SELECT failure, min(task) AS task, count(*) AS tasks, sum(n)::bigint AS n,
              min(first_at) AS first_at, max(last_at) AS last_at
         FROM t GROUP BY failure, CASE WHEN $2::bool THEN task END),
     p AS MATERIALIZED (
       SELECT *, sum(n) OVER ()::bigint AS total, count(*) OVER () AS classes
         FROM c ORDER BY n DESC, failure, task LIMIT $3)
SELECT p.failure, p.task, p.n, p.first_at, p.last_at, x.sample, p.tasks, x.ck,
       (SELECT k.name FROM checkpoints k WHERE k.run = x.reached AND k.number = x.ck) AS name,
       (SELECT s.error FROM results s WHERE s.run = x.sample) AS error, p.total, p.classes
  FROM p CROSS JOIN LATERAL (
       WITH w AS MATERIALIZED (
              SELECT r.id, r.ck, row_number() OVER () AS age FROM (
                     SELECT r.id, r.ck FROM runs r
                      WHERE r.ns = $1 AND r.failure = p.failure AND r.failure <> '' AND NOT r.acked
                        AND (NOT $2::bool OR r.task = p.task)
                      ORDER BY r.ended_at DESC, r.id DESC LIMIT $4) r),
            m AS (SELECT ck, min(age) AS newest FROM w GROUP BY ck ORDER BY count(*) DESC, ck DESC LIMIT 1)
       SELECT m.ck, (SELECT id FROM w WHERE age = 1) AS sample,
              (SELECT id FROM w WHERE age = m.newest) AS reached
         FROM m) x
 ORDER BY p.n DESC, p.failure, p.task;

-- name: of_sites
-- The same of runs of sites: a class is of one site ($5: of this one alone, if not empty).
WITH t AS MATERIALIZED (
       SELECT failure, task, site, count(*) AS n, min(ended_at) AS first_at, max(ended_at) AS last_at
         FROM runs WHERE ns = $1 AND failure <> '' AND NOT acked AND ($5::text = '' OR site = $5)
        GROUP BY failure, task, site),
     c AS MATERIALIZED (
       SELECT failure, site, min(task) AS task, count(*) AS tasks, sum(n)::bigint AS n,
              min(first_at) AS first_at, max(last_at) AS last_at
         FROM t GROUP BY failure, site, CASE WHEN $2::bool THEN task END),
     p AS MATERIALIZED (
       SELECT *, sum(n) OVER ()::bigint AS total, count(*) OVER () AS classes
         FROM c ORDER BY n DESC, failure, task, site LIMIT $3)
SELECT p.failure, p.task, p.site, p.n, p.first_at, p.last_at, x.sample, p.tasks, x.ck,
       (SELECT k.name FROM checkpoints k WHERE k.run = x.reached AND k.number = x.ck) AS name,
       (SELECT s.error FROM results s WHERE s.run = x.sample) AS error, p.total, p.classes
  FROM p CROSS JOIN LATERAL (
       WITH w AS MATERIALIZED (
              SELECT r.id, r.ck, row_number() OVER () AS age FROM (
                     SELECT r.id, r.ck FROM runs r
                      WHERE r.ns = $1 AND r.failure = p.failure AND r.failure <> '' AND NOT r.acked
                        AND (NOT $2::bool OR r.task = p.task) AND r.site = p.site
                      ORDER BY r.ended_at DESC, r.id DESC LIMIT $4) r),
            m AS (SELECT ck, min(age) AS newest FROM w GROUP BY ck ORDER BY count(*) DESC, ck DESC LIMIT 1)
       SELECT m.ck, (SELECT id FROM w WHERE age = 1) AS sample,
              (SELECT id FROM w WHERE age = m.newest) AS reached
         FROM m) x
 ORDER BY p.n DESC, p.failure, p.task, p.site;

-- name: reviews
-- What runs in REVIEW wait for.
SELECT v.id, v.open_marks, v.unconfirmed, e.at, e.data FROM run_records v
  LEFT JOIN LATERAL (
       SELECT at, data FROM events WHERE run = v.id AND target = 'REVIEW' ORDER BY n DESC LIMIT 1) e
    ON true
 WHERE v.id = ANY($2::text[]) AND v.ns = $1 AND v.state = 'REVIEW';
