-- One row an address changed; a family is a row of its own. Rows outlive their silo.
CREATE TABLE history (
    revision bigint NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    family smallint NOT NULL,
    changed_at bigint NOT NULL,
    old_ip varchar(39),
    new_ip varchar(39),
    via varchar(16) NOT NULL,
    token varchar(10),
    client_ip varchar(39),
    PRIMARY KEY (revision, hostname, family)
);
CREATE INDEX history_by_silo ON history (silo, revision);
CREATE INDEX history_by_hostname ON history (silo, hostname, revision);
