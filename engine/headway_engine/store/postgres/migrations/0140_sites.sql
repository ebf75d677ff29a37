-- min_engine: 0.1.0
-- A hub knows the runs of its sites. They stand in the same tables in a schema of their own (`headway_sites`),
-- which this file makes as well as the hub's own: so nothing that works on the hub's runs ever meets them, and
-- no index of its hot path grows. The hub's own runs have the empty site.

ALTER TABLE runs ADD site text COLLATE "C" NOT NULL DEFAULT '';  -- the site that owns it; '' = here
CREATE INDEX runs_site ON runs (ns, site, id) WHERE site <> '';

-- What decides about a site's run, so that its next message can be followed (changes/fold.py).
CREATE TABLE site_records (
    site   text COLLATE "C" NOT NULL,
    run    text COLLATE "C" PRIMARY KEY,
    record bytea NOT NULL
);

-- How far the RUNS of each site is in these tables: written in the same transaction as they are.
CREATE TABLE site_positions (
    seq        bigint NOT NULL DEFAULT 0,  -- in the site's own RUNS: all up to here is here
    skipped    bigint NOT NULL DEFAULT 0,  -- messages that said nothing that could be followed
    head       bigint NOT NULL DEFAULT 0,  -- last sequence of the site's RUNS at the last contact
    contact_at timestamptz,                -- when the site was last heard of
    as_of      timestamptz,                -- what is known here is all that was true then
    site       text COLLATE "C" PRIMARY KEY,
    stream     text COLLATE "C" NOT NULL DEFAULT '',  -- when the site's RUNS was made: its identity
    problem    text NOT NULL DEFAULT ''    -- why nothing is taken from it any more
);
