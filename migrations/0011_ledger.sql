-- What is ours at a receiver. `claimed` is committed before it is sent and empties once the outcome is
-- known; `published` is what the receiver surely took; `unsure` says of which family (1: IPv4, 2: IPv6) an
-- unfinished send may have changed that. Addresses stand separated by a blank, none as an
-- empty text.
CREATE TABLE ledger (
    sink varchar(63) {bytes} NOT NULL,
    published_name varchar(253) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    claimed varchar(64),
    published varchar(64),
    unsure smallint NOT NULL,
    PRIMARY KEY (sink, published_name)
);
CREATE INDEX ledger_by_record ON ledger (sink, silo, hostname);
