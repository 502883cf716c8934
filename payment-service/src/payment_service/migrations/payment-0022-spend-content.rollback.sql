ALTER TABLE spends DROP COLUMN content_hash;
