-- What was done to tokens, and refused credentials by address and minute. `token` is the one it was done to,
-- `by_token` the one that asked for it, `times` how often. The counter `audit` is the last id.
CREATE TABLE audit (
    id bigint NOT NULL PRIMARY KEY,
    happened_at bigint NOT NULL,
    event varchar(8) {bytes} NOT NULL,
    token varchar(10) {bytes},
    by_token varchar(10) {bytes},
    via varchar(16),
    client_ip varchar(45),
    times bigint NOT NULL
);
CREATE INDEX audit_by_event ON audit (event, id);
INSERT INTO counters (name, value) VALUES ('audit', 0);
-- The secret that a token had before its rotation, until it ends: as in `tokens`, hash and sealed key.
CREATE TABLE former_secrets (
    token varchar(10) {bytes} NOT NULL PRIMARY KEY,
    credential_hash varchar(64) NOT NULL,
    signing_key text NOT NULL,
    ends_at bigint NOT NULL
);
