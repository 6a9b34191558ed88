-- What is ours at a receiver. `claimed` is committed before it is sent and empties once the outcome is
-- known; `published` is what the receiver surely took. Addresses stand separated by a blank, none as an
-- empty text.
CREATE TABLE ledger (
    sink varchar(63) {bytes} NOT NULL,
    published_name varchar(253) {bytes} NOT NULL,
    silo varchar(63) {bytes} NOT NULL,
    hostname varchar(253) {bytes} NOT NULL,
    claimed varchar(64),
    published varchar(64),
    PRIMARY KEY (sink, published_name)
);
CREATE INDEX ledger_by_record ON ledger (sink, silo, hostname);
