-- The sink that hears of this one's failures.
ALTER TABLE sinks ADD COLUMN tell_failures varchar(63) {bytes};
