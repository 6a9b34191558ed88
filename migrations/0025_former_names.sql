-- One row a hostname that was removed from a silo: the revision of its last removal, which is its newest one in the
-- history unless there is a record again.
CREATE TABLE former_names (
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (silo, hostname)
);
