-- Invitations: each makes one token, once. `signing_key` is what requests of its exchange are signed with, sealed under
-- the hub's key (base64). `name` to `token_expires_at` are the token's. `token` and the columns after it are of the machine
-- that redeemed it last: the token is in `tokens` once `used_at` is set.
CREATE TABLE invitations (
    id varchar(10) {bytes} NOT NULL PRIMARY KEY,
    signing_key text NOT NULL,
    name varchar(100) {unicode} NOT NULL,
    role varchar(8) NOT NULL,
    silos text NOT NULL,
    hostnames text,
    token_expires_at bigint,
    made_by varchar(10) {bytes},
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint,
    used_at bigint,
    token varchar(10) {bytes},
    token_hash varchar(64),
    token_signing_key text,
    client_ip varchar(45),
    redeemed_at bigint
);
