-- Sessions of the dashboard. The cookie has the id of the token and 256 random bits; `id_hash` is its SHA-256 (hex).
-- `secret`: the hash of the token's secret that the session was made with, so that it ends with that secret.
-- `used_at` is written at most once a minute.
CREATE TABLE sessions (
    token varchar(10) {bytes} NOT NULL,
    id_hash varchar(64) {bytes} NOT NULL,
    secret varchar(64) {bytes} NOT NULL,
    made_at bigint NOT NULL,
    used_at bigint NOT NULL,
    PRIMARY KEY (token, id_hash)
);
