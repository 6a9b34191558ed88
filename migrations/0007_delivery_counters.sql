-- `deliveries` is the id of the last delivery, `sinks` moves with every change of the sinks.
INSERT INTO counters (name, value) VALUES ('deliveries', 0);
INSERT INTO counters (name, value) VALUES ('sinks', 0);
