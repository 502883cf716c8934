-- runs-with: 1
-- Items of the settlement job that have failed: rows are deleted when the item succeeds or is given back to the job.
CREATE TABLE failing_items (
    id uuid PRIMARY KEY,
    kind text NOT NULL CONSTRAINT failing_items_kind CHECK (
        kind IN ('EVENT', 'PAYMENT', 'REFUND', 'PAYOUT', 'RESERVATION')
    ),
    -- Of events; empty otherwise.
    provider text NOT NULL,
    subject text NOT NULL,
    failure_count bigint NOT NULL,
    last_error text NOT NULL,
    -- Of the contract; empty where the error has none.
    error_reason text NOT NULL,
    first_failed_at timestamptz NOT NULL,
    last_failed_at timestamptz NOT NULL,
    -- Since when the job leaves it alone; NULL while it is tried.
    quarantined_at timestamptz,
    -- When an operator decided that it stays so, and why.
    discarded_at timestamptz,
    discard_reason text NOT NULL DEFAULT '',
    CONSTRAINT failing_items_one UNIQUE (kind, provider, subject),
    CONSTRAINT failing_items_discarded CHECK (discarded_at IS NULL OR quarantined_at IS NOT NULL)
);

CREATE INDEX failing_items_waiting ON failing_items (id DESC)
WHERE quarantined_at IS NOT NULL AND discarded_at IS NULL;
