-- The revision of the row before this one of the same hostname in the same silo; NULL: there is none. It holds for silos
-- whose history is linked, see `silos.linked`.
ALTER TABLE history ADD COLUMN previous bigint;
