ALTER TABLE documents DROP COLUMN expires_at;
