-- runs-with: 1
CREATE TABLE idempotency_keys (
    organization_id uuid NOT NULL,
    method text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    response bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, method, key)
);
