-- The outbox: one row a sink and changing command. `state`: 0 pending, 1 done, 2 failed. `told` is the
-- sink's own note of whom it has told already (JSON); `last_seen` is the record's, for those not seen.
CREATE TABLE deliveries (
    id bigint NOT NULL PRIMARY KEY,
    sink varchar(63) {bytes} NOT NULL,
    event varchar(16) NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    revision bigint NOT NULL,
    created_at bigint NOT NULL,
    state smallint NOT NULL,
    done_at bigint,
    attempts bigint NOT NULL,
    next_at bigint NOT NULL,
    failing_since bigint,
    why text {unicode},
    told text {unicode},
    last_seen bigint
);
CREATE INDEX deliveries_by_sink ON deliveries (sink, state, id);
CREATE INDEX deliveries_by_state ON deliveries (state, id);
