-- The records that a sink was told are not seen any more.
CREATE TABLE unseen (
    sink varchar(63) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    last_seen bigint NOT NULL,
    PRIMARY KEY (sink, silo, hostname)
);
