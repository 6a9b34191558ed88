-- The agents of each silo, as their requests named them (`Silo-Agent`, `Silo-Applied`); of a token at most 16 names.
-- `applied`: the revision that a downstream has applied. Hints, written at most once a minute for each row.
CREATE TABLE agents (
    silo varchar(63) {bytes} NOT NULL,
    name varchar(64) {bytes} NOT NULL,
    token varchar(10) {bytes} NOT NULL,
    kind varchar(16) {bytes},
    version varchar(32) {bytes},
    applied bigint,
    last_seen bigint NOT NULL,
    address varchar(45) {bytes} NOT NULL,
    PRIMARY KEY (silo, name, token)
);
