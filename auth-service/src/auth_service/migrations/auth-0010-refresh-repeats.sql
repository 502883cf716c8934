-- runs-with: 1
ALTER TABLE sessions
    -- The refresh token that was replaced last, by its hash, and the salt that its successor was derived with. Without
    -- the token, which is not kept, the salt gives nothing. Unset until the first refresh.
    ADD COLUMN rotated_hash bytea,
    ADD COLUMN successor_salt bytea;
