-- One row a hostname, with at most one address a family. `revision` is that of the record's last
-- change; `last_seen` also moves with writes that change nothing.
CREATE TABLE records (
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    ipv4 varchar(15),
    ipv6 varchar(39),
    revision bigint NOT NULL,
    updated_at bigint NOT NULL,
    last_seen bigint NOT NULL,
    note text {unicode},
    notify varchar(254) {unicode},
    ipv6_suffix varchar(39),
    expires_after bigint,
    PRIMARY KEY (silo, hostname)
);
CREATE INDEX records_by_expiry ON records (expires_after);
