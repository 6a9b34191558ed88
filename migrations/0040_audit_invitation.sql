-- The invitation that was made, revoked or used.
ALTER TABLE audit ADD COLUMN invitation varchar(10) {bytes};
