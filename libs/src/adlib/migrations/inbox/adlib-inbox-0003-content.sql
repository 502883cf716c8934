-- runs-with: 1
-- What an event said, so that another with its id is refused; NULL of those from before.
ALTER TABLE inbox ADD COLUMN content_hash bytea;
