-- The records whose failure at a sink was told to the sink that it names, and not yet that it is over. `of_all` is 1
-- where the record showed that the sink as a whole is refused.
CREATE TABLE told_failures (
    sink varchar(63) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    of_all smallint NOT NULL,
    told_at bigint NOT NULL,
    PRIMARY KEY (sink, silo, hostname)
);
