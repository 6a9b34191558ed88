-- Who may set a hostname by dynahost's protocol. `secid_hash` is an Argon2 hash (PHC string) of what the
-- caller chose; NULL: an admin opened the hostname and nobody has come yet. `confirmed` is 0 while a first
-- use is all that stands behind the row. `sink` and `login` (sealed, base64; its keyed hash beside it, to
-- see whether another one comes) are what the caller gave for a DDNS provider.
CREATE TABLE dynahost (
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    id varchar(10) {bytes} NOT NULL,
    secid_hash varchar(255) {bytes},
    confirmed smallint NOT NULL,
    created_at bigint NOT NULL,
    sink varchar(63) {bytes},
    login text,
    login_hash varchar(64) {bytes},
    PRIMARY KEY (silo, hostname)
);
CREATE INDEX dynahost_by_sink ON dynahost (sink, silo);
