-- min_engine: 0.1.0
-- Agents that take nothing new until an operator says otherwise.

ALTER TABLE agents
    ADD COLUMN drain    text NOT NULL DEFAULT '',  -- drain, now, or empty
    ADD COLUMN drain_by text NOT NULL DEFAULT '',
    ADD COLUMN drain_at timestamptz;
