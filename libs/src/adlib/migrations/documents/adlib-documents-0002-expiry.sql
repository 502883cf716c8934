-- runs-with: 1
ALTER TABLE documents ADD COLUMN expires_at timestamptz;
