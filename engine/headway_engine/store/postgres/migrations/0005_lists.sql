-- min_engine: 0.1.0
-- Lists of runs by query.

-- `error` of results as the query language sees it: type and message, without NUL, which JSON can
-- hold and text cannot. A pair of backslashes is set aside first: what follows it is no escape.
CREATE FUNCTION hw_error_text(error bytea) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(j ->> 'type', '') || ': ' || coalesce(j ->> 'message', '')
      FROM (SELECT CASE WHEN strpos(t, '\u0000') = 0 THEN t
                        ELSE replace(replace(replace(t, '\\', chr(1)), '\u0000', ''), chr(1), '\\')
                   END::json AS j
              FROM (SELECT convert_from(error, 'UTF8') AS t) a) b
$$;

-- Lists by state. No move on the way of an ordinary run (QUEUED, STARTING, RUNNING, SUCCEEDED) writes
-- to it: the first three have indexes of their own, and of the last there are always some at hand.
CREATE INDEX runs_listed ON runs (ns, state, id)
    WHERE state IN ('DELAYED', 'WAITING', 'RETRYING', 'REVIEW', 'FAILED', 'TIMED_OUT', 'CANCELLED',
                    'EXPIRED');
DROP INDEX runs_review;

-- `since:` in lists. Ids of children bear the time of their parent, so ids do not say it.
CREATE INDEX runs_created ON runs (ns, created_at);
