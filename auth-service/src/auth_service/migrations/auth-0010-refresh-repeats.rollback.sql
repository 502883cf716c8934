ALTER TABLE sessions DROP COLUMN rotated_hash, DROP COLUMN successor_salt;
