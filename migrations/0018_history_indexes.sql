-- One index for both questions, of a silo and of one of its hostnames. It grows at a silo's end alone, while
-- one that began with the hostname had to be changed at as many places as hostnames changed: most of what
-- a write took.
CREATE INDEX history_of_silo ON history (silo, revision, hostname);
DROP INDEX history_by_silo {of history};
DROP INDEX history_by_hostname {of history};
