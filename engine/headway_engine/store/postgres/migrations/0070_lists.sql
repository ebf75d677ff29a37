-- min_engine: 0.1.0
-- Lists out of very many runs: nothing that an ordinary run pays for.

-- `since:` goes by the time of ids; this is for the runs whose ids say another time: children's that of
-- their parent, forks' that of their plan. An index of all runs was 6 % of what the database works for one
-- and 9 % of its WAL, since each of its states is one more entry.
DROP INDEX runs_created;
CREATE INDEX runs_derived ON runs (ns, state, created_at) WHERE parent <> '' OR origin <> '';

-- The children of a run, and its replays and forks.
CREATE INDEX runs_parent ON runs (ns, parent, id) WHERE parent <> '';
CREATE INDEX runs_origin ON runs (ns, origin, id) WHERE origin <> '';

-- The same words as before, as a table of one row: Postgres takes such a function apart and puts it into
-- the statement, which is a tenth of the time of a call for each row.
DROP FUNCTION hw_error_text;
CREATE FUNCTION hw_error_said(error bytea) RETURNS TABLE (said text) LANGUAGE sql STABLE AS $$
    SELECT coalesce(j ->> 'type', '') || ': ' || coalesce(j ->> 'message', '')
      FROM (SELECT CASE WHEN strpos(t, '\u0000') = 0 THEN t
                        ELSE replace(replace(replace(t, '\\', chr(1)), '\u0000', ''), chr(1), '\\')
                   END::json AS j
              FROM (SELECT convert_from(error, 'UTF8') AS t) a) b
$$;
