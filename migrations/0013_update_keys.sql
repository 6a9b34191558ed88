-- Update keys: who calls a URL that holds the key sets one record to its own address. The key itself is
-- not stored, only an HMAC of it under the hub's key (64 hexadecimal digits).
CREATE TABLE update_keys (
    id varchar(10) {bytes} NOT NULL PRIMARY KEY,
    key_hash varchar(64) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint
);
CREATE INDEX update_keys_by_hash ON update_keys (key_hash);
