-- For the purge of rows whose history is purged.
CREATE INDEX former_names_by_revision ON former_names (revision);
