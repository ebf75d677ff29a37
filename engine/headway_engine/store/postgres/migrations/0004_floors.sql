-- min_engine: 0.1.0
-- After a restore or failover an attempt that runs goes on; what comes after it starts above every
-- epoch that the lost part of the history may have given out (DECISIONS G4).

ALTER TABLE runs ADD COLUMN floor bigint NOT NULL DEFAULT 0;  -- 0 = none

CREATE FUNCTION hw_floor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.epoch := greatest(NEW.epoch, OLD.floor);
    NEW.floor := 0;
    RETURN NEW;
END $$;
CREATE TRIGGER runs_floor BEFORE UPDATE OF state ON runs FOR EACH ROW
    WHEN (OLD.floor <> 0 AND NEW.state NOT IN ('STARTING', 'RUNNING', 'CANCELLING'))
    EXECUTE FUNCTION hw_floor();
