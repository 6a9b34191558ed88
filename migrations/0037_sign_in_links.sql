-- Links that sign a browser in once. `code_hash`: SHA-256 (hex) of the code. Each has a token of its own, whose secret
-- nobody knows; the row stays until the token's session has ended, and the token is revoked with it.
CREATE TABLE sign_in_links (
    token varchar(10) {bytes} NOT NULL PRIMARY KEY,
    code_hash varchar(64) {bytes} NOT NULL,
    ends_at bigint NOT NULL,
    used_at bigint
);
