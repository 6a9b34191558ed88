-- For the search for a hostname in all silos.
CREATE INDEX records_by_hostname ON records (hostname, silo);
