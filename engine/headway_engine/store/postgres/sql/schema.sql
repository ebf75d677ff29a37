-- name: lock
-- One engine migrates at a time.
SELECT pg_advisory_xact_lock(4822000);

-- name: make_sites
-- The same tables again, for what a hub knows of the runs of its sites.
CREATE SCHEMA IF NOT EXISTS headway_sites;

-- name: create
CREATE TABLE IF NOT EXISTS schema (
    version    int PRIMARY KEY,
    min_engine text NOT NULL,              -- the oldest engine that may use this schema
    max_engine text,                       -- the newest one, once a later migration contracts
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: versions
SELECT version FROM schema;

-- name: min_engine
SELECT min_engine FROM schema ORDER BY version DESC LIMIT 1;

-- name: record
INSERT INTO schema (version, min_engine) VALUES ($1, $2);
