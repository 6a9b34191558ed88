-- Signed writes of the last minutes: each nonce of a token once, and where its accepted writes went
-- (hostname '': the whole silo; silo '': refused, or no write of a silo). `created` is the signature's
-- own time in Unix milliseconds.
CREATE TABLE signed_writes (
    token varchar(10) {bytes} NOT NULL,
    nonce varchar(64) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (token, nonce)
);
CREATE INDEX signed_writes_by_place ON signed_writes (token, silo, hostname, created);
CREATE INDEX signed_writes_by_created ON signed_writes (created);
