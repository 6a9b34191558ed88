-- The revision at which the record's addresses changed last, which is the hostname's newest one in the history; NULL: it
-- is the record's own revision, and nothing but addresses changed since.
ALTER TABLE records ADD COLUMN addresses_at bigint;
