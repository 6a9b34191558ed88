-- What a delivery is about, and for state sinks how far each hostname has come (`state` as in
-- deliveries). `notify` is the record's mail address at the time of the change.
CREATE TABLE delivery_names (
    delivery bigint NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    sink varchar(63) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    state smallint NOT NULL,
    attempts bigint NOT NULL,
    next_at bigint NOT NULL,
    failing_since bigint,
    why text {unicode},
    notify varchar(254) {unicode},
    PRIMARY KEY (delivery, hostname)
);
CREATE INDEX delivery_names_due ON delivery_names (sink, state, next_at, delivery);
CREATE INDEX delivery_names_of_delivery ON delivery_names (delivery, state);
CREATE INDEX delivery_names_of_record ON delivery_names (sink, silo, hostname, state);
