ALTER TABLE inbox DROP COLUMN content_hash;
