-- name: told
-- Totals of attempts. Whoever has spent it may be an older attempt by now, or its run may have ended: it is
-- spent all the same, so only the namespace and that there was such an attempt are checked.
WITH i AS (
       SELECT run, epoch, model, ns, max(tokens_in) AS tokens_in, max(tokens_out) AS tokens_out,
              max(cost_usd) AS cost_usd
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                     $7::float8[]) AS x (run, epoch, model, ns, tokens_in, tokens_out, cost_usd)
        GROUP BY run, epoch, model, ns)
INSERT INTO usage AS u (at, run, epoch, model, ns, task, tokens_in, tokens_out, cost_usd)
SELECT hw_now(), r.id, i.epoch, i.model, r.ns, r.task, i.tokens_in, i.tokens_out, i.cost_usd
  FROM i JOIN runs r ON r.id = i.run AND (r.ns = i.ns OR i.ns = '') AND i.epoch <= r.epoch
 ORDER BY r.id, i.epoch, i.model
ON CONFLICT (run, epoch, model) DO UPDATE
   SET at = excluded.at, tokens_in = greatest(u.tokens_in, excluded.tokens_in),
       tokens_out = greatest(u.tokens_out, excluded.tokens_out),
       cost_usd = greatest(u.cost_usd, excluded.cost_usd)
RETURNING run, epoch;

-- name: of_runs
-- What each of these runs has used, all attempts together.
SELECT run, sum(tokens_in)::bigint, sum(tokens_out)::bigint, sum(cost_usd) FROM usage
 WHERE run = ANY($1::text[]) AND ns = $2 GROUP BY run;

-- name: sums
-- Sums over a window, by task, model, run or day (UTC); the dearest first ($9: of one site's runs alone).
SELECT key, count(DISTINCT run) AS runs, count(DISTINCT (run, epoch)) AS attempts,
       sum(tokens_in)::bigint AS tokens_in, sum(tokens_out)::bigint AS tokens_out,
       sum(cost_usd) AS cost_usd
  FROM (SELECT *, CASE $2 WHEN 'task' THEN task WHEN 'model' THEN model WHEN 'run' THEN run
                  ELSE to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS key
          FROM usage
         WHERE ns = $1 AND ($3::text = '' OR task = $3) AND ($4::text = '' OR model = $4)
           AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
           AND ($8::text = '' OR run = $8)
           AND ($9::text = '' OR run IN (SELECT id FROM runs WHERE ns = $1 AND site = $9))) x
 GROUP BY key ORDER BY sum(cost_usd) DESC, sum(tokens_in + tokens_out) DESC, key LIMIT $7;

-- name: set_budget
-- What a person gives to a run; 0 = as before.
INSERT INTO budgets AS b (at, usd, tokens, ns, run, actor)
SELECT hw_now(), $3, $4, r.ns, r.id, $5 FROM runs r WHERE r.id = $2 AND r.ns = $1
ON CONFLICT (run) DO UPDATE
   SET at = excluded.at, actor = excluded.actor,
       usd = CASE WHEN excluded.usd > 0 THEN excluded.usd ELSE b.usd END,
       tokens = CASE WHEN excluded.tokens > 0 THEN excluded.tokens ELSE b.tokens END;

-- name: budgets
SELECT run, usd, tokens FROM budgets WHERE run = ANY($1::text[]) AND ns = $2;
