-- runs-with: 1
ALTER TABLE links
    -- How often a weak password was sent with it.
    ADD COLUMN tries bigint NOT NULL DEFAULT 0;
