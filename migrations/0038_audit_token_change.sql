-- The properties of the token before and after, as JSON, of what made or changed it.
ALTER TABLE audit ADD COLUMN token_change text {unicode};
