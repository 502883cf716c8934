-- runs-with: 1
-- Calls that have changed something and are not answered yet.
CREATE TABLE audit_pending (
    id uuid PRIMARY KEY,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
