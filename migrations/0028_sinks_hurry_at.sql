-- When a new change has a sink tried that is held back. NULL: a change does not shorten the wait; the highest bigint:
-- it does, and there was none yet.
ALTER TABLE sinks ADD COLUMN hurry_at bigint;
