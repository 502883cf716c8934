-- runs-with: 1
-- What an item asked for, so that another with its key is refused: NULL of items from before.
ALTER TABLE spends ADD COLUMN content_hash bytea;
