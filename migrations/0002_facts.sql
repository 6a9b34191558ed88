-- What is true of this database as a whole, such as the fingerprint of the hub's key.
CREATE TABLE facts (
    name varchar(32) {bytes} NOT NULL PRIMARY KEY,
    fact text NOT NULL
);
