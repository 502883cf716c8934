-- runs-with: 1
ALTER TABLE crypto_chains
-- When the chain was last read up to its node's newest block; NULL: not since this column exists.
ADD COLUMN current_at timestamptz,
-- When the newest block that was read was made, as it says itself.
ADD COLUMN head_at timestamptz,
-- Why the last attempt to read the chain ended early; empty where it did not.
ADD COLUMN fault text NOT NULL DEFAULT '';
