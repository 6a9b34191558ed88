-- Numbers that only one transaction at a time may move. `revision` is the last revision handed out;
-- every write transaction locks its row first. `tokens` moves with every change of a token.
-- `feed_floor` is the highest revision of a tombstone that was purged: a hub that has come less far
-- can't learn of that deletion any more.
CREATE TABLE counters (
    name varchar(32) {bytes} NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counters (name, value) VALUES ('revision', 0);
INSERT INTO counters (name, value) VALUES ('tokens', 0);
INSERT INTO counters (name, value) VALUES ('feed_floor', 0);
