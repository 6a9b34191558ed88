-- The revision at which an export has a silo that an import added from it, while that import has not brought the whole
-- history of the silo; NULL for every other silo.
ALTER TABLE silos ADD COLUMN importing bigint;
