-- Where the other machine redeemed an invitation from, if two did.
ALTER TABLE audit ADD COLUMN other_ip varchar(45);
