-- runs-with: 1
CREATE TABLE payments (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    provider text NOT NULL,
    state text NOT NULL CONSTRAINT payments_state CHECK (
        state IN ('PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'EXPIRED', 'REFUNDED', 'DISPUTED')
    ),
    amount_micros bigint NOT NULL CONSTRAINT payments_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    -- The caller's; NULL where none was sent.
    idempotency_key text,
    -- The provider's id; NULL until the provider has answered.
    external_id text,
    failure_message text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When the provider was last asked by the job.
    checked_at timestamptz NOT NULL,
    CONSTRAINT payments_once UNIQUE (organization_id, idempotency_key),
    CONSTRAINT payments_external UNIQUE (provider, external_id)
);

CREATE INDEX payments_of_organization ON payments (organization_id, id DESC);
CREATE INDEX payments_open ON payments (checked_at) WHERE state IN ('PENDING', 'PROCESSING', 'FAILED');

-- Every webhook that was received and whose signature was right.
CREATE TABLE webhook_events (
    provider text NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (provider, event_id)
);
