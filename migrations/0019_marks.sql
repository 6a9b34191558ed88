-- One row a running hub: the mark of its last batch, written in the batch's own transaction. After a COMMIT
-- without an answer, the row says whether the batch was committed.
CREATE TABLE marks (
    hub varchar(32) {bytes} NOT NULL PRIMARY KEY,
    mark varchar(32) {bytes} NOT NULL,
    written_at bigint NOT NULL
);
