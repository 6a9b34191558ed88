-- Wrong credentials of the last minute, of all hubs together: address (IPv6 by /64), when its minute began,
-- how many. `version` is the counter `failures` of the last change.
CREATE TABLE failures (
    client_ip varchar(45) {bytes} NOT NULL PRIMARY KEY,
    began_at bigint NOT NULL,
    times bigint NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX failures_by_version ON failures (version);
CREATE INDEX failures_by_beginning ON failures (began_at);
INSERT INTO counters (name, value) VALUES ('failures', 0);
