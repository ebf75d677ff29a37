-- min_engine: 0.1.0
-- Since when a run waits in its queue, and who paused a queue or drained an agent, and why.

-- Set when a run comes into its queue, new or again. Only an operator's numbers are built on it.
ALTER TABLE runs ADD COLUMN queued_at timestamptz NOT NULL DEFAULT hw_now();

-- The longest wait is found where the waiting runs are counted, in the index alone.
DROP INDEX runs_heads;
DROP INDEX runs_heads_by_key;
CREATE INDEX runs_heads ON runs (ns, queue, shared, priority DESC, resumed DESC, id)
    INCLUDE (queued_at) WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key = '';
CREATE INDEX runs_heads_by_key ON runs (ns, queue, limit_key, shared, priority DESC, resumed DESC, id)
    INCLUDE (queued_at) WHERE state = 'QUEUED' AND dispatch IS NULL AND limit_key <> '';

ALTER TABLE queues
    ADD COLUMN paused_by text NOT NULL DEFAULT '',  -- who paused it, or resumed it last
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN reason    text NOT NULL DEFAULT '';

ALTER TABLE agents ADD COLUMN drain_reason text NOT NULL DEFAULT '';
