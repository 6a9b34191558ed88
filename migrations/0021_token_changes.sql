-- Which token each value of the counter `tokens` stands for, of the last changes; NULL: of all tokens. Hubs
-- forget what they hold of these tokens alone. A value without a row was taken by a hub of version 0.1.0.
CREATE TABLE token_changes (
    version bigint NOT NULL PRIMARY KEY,
    token varchar(10) {bytes}
);
