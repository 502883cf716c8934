-- runs-with: 1
-- What the shared cache must be told, written with the change it tells of; a row goes once the cache has it.
CREATE TABLE pending_marks (
    id uuid PRIMARY KEY,
    key text NOT NULL,
    -- How long the cache must remember it.
    lasts_s bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
