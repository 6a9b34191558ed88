-- One row a sink that was ever configured. `active`: 1 while changes are written down for it, 2 while
-- what it published is being removed, 3 afterwards, 0 once no hub has it any more. `takes` is JSON.
-- `reconciled_at` is 0 when the ledger and the silos are to be compared, 1 while they are. A worker holds the lease
-- while it sends; `next_at` holds back everything that the sink has to send. Times are Unix milliseconds.
CREATE TABLE sinks (
    name varchar(63) {bytes} NOT NULL PRIMARY KEY,
    kind varchar(16) NOT NULL,
    takes text NOT NULL,
    fingerprint varchar(64) NOT NULL,
    active smallint NOT NULL,
    served_until bigint NOT NULL,
    reconciled_at bigint NOT NULL,
    lease_owner varchar(32) NOT NULL,
    lease_until bigint NOT NULL,
    attempts bigint NOT NULL,
    next_at bigint NOT NULL,
    failing_since bigint,
    why text {unicode}
);
