-- When the secret after a former one was used first; until then the former one may rotate the token again.
ALTER TABLE former_secrets ADD COLUMN new_used_at bigint;
