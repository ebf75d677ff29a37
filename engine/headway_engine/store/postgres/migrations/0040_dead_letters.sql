-- min_engine: 0.1.0
-- Dead letters: failures that nobody has acknowledged. Both columns change at the end of a run or later,
-- never on its way.

ALTER TABLE runs ADD failure text COLLATE "C" NOT NULL DEFAULT '';  -- FAILED, TIMED_OUT: class of its error
ALTER TABLE runs ADD acked boolean NOT NULL DEFAULT false;          -- a person has seen the failure

UPDATE runs r SET failure = coalesce(nullif(left(split_part(hw_error_text(s.error), ': ', 1), 120), ''), 'Error')
  FROM results s WHERE s.run = r.id AND r.state IN ('FAILED', 'TIMED_OUT') AND s.error IS NOT NULL;

-- Small: what was acknowledged leaves them. By id for lists; by class, the newest last, for their sums.
CREATE INDEX runs_dead ON runs (ns, id) WHERE failure <> '' AND NOT acked;
CREATE INDEX runs_dead_class ON runs (ns, failure, ended_at, id, task) WHERE failure <> '' AND NOT acked;

CREATE OR REPLACE VIEW run_records AS
SELECT id, ns, task, queue, state, created_at, epoch, n, ck, failures, lost, lost_ck, unstarted,
       unstarted_agents, version, shared, limit_key, priority, resumed, agent, session, nonce,
       due_at, ttl_at, deadline_at, claimed_at, started_at, attempt_at, ended_at, reason,
       unconfirmed, parent, root, origin, key, keep_key, reply, trace,
       (SELECT json_agg(json_build_array(m.key, m.token, m.epoch, m.status) ORDER BY m.key)::text
          FROM marks m
         WHERE m.run = runs.id AND m.kind = 'once' AND m.status <> 'done' AND m.resolved = '')
           AS open_marks,
       key_scope, dispatch, tags, failure, acked
  FROM runs;
