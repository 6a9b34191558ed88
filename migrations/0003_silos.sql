-- One row a silo; a deleted one stays as a tombstone (deleted = 1) at the revision of its deletion.
-- Times are Unix milliseconds.
CREATE TABLE silos (
    id varchar(63) {bytes} NOT NULL PRIMARY KEY,
    revision bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted smallint NOT NULL
);
CREATE INDEX silos_by_revision ON silos (revision);
