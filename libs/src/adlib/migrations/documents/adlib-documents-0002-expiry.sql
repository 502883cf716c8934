ALTER TABLE documents ADD COLUMN expires_at timestamptz;
