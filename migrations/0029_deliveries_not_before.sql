-- Before when the receiver asked not to be sent the delivery.
ALTER TABLE deliveries ADD COLUMN not_before bigint;
