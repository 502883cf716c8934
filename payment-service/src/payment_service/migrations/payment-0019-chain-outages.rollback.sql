ALTER TABLE crypto_chains
DROP COLUMN fault,
DROP COLUMN head_at,
DROP COLUMN current_at;
