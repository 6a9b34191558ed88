-- For the names of a token, and for the agents of a token that ends.
CREATE INDEX agents_by_token ON agents (token, name);
