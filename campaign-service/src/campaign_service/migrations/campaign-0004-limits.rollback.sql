ALTER TABLE campaigns
DROP COLUMN is_suspending,
DROP COLUMN is_limited;
