-- What a delivery says of another sink's failures, as JSON.
ALTER TABLE deliveries ADD COLUMN failure text {unicode};
