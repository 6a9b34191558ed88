-- Credentials are kept as SHA-256 (hex); the signing key is sealed under the hub's key (base64),
-- empty after a key reset. `silos` and `hostnames` are JSON arrays of names and globs.
CREATE TABLE tokens (
    id varchar(10) {bytes} NOT NULL PRIMARY KEY,
    name varchar(100) {unicode} NOT NULL,
    role varchar(8) NOT NULL,
    silos text NOT NULL,
    hostnames text,
    credential_hash varchar(64) NOT NULL,
    signing_key text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);
