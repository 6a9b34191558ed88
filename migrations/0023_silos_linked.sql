-- Equal to the silo's revision: the silo's history is linked, so that a hostname's rows are found from its newest on by
-- `history.previous`. Anything else: it is not. Version 0.1.0 moves the revision alone. A negative number marks a silo
-- whose history is being linked.
ALTER TABLE silos ADD COLUMN linked bigint;
