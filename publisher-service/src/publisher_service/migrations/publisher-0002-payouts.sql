-- runs-with: 1
CREATE TABLE payout_requests (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    publisher_id uuid NOT NULL,
    state text NOT NULL CONSTRAINT payout_requests_state CHECK (
        state IN (
            'RESERVING', 'PENDING_APPROVAL', 'APPROVED', 'PROCESSING', 'PAID', 'REJECTING', 'REJECTED', 'FAILED'
        )
    ),
    amount_micros bigint NOT NULL CONSTRAINT payout_requests_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    account_holder_name text NOT NULL,
    -- Either an IBAN, or a routing and an account number in the United States.
    iban text,
    routing_number text,
    account_number text,
    requested_by uuid NOT NULL,
    decided_by uuid,
    reason text NOT NULL DEFAULT '',
    -- Of the request, so that a repeat finds the payout that the first attempt began.
    idempotency_key text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- When payment-service is told again, while it has not been told yet, and how often that has failed.
    retry_at timestamptz NOT NULL,
    failed_tries bigint NOT NULL DEFAULT 0,
    FOREIGN KEY (publisher_id, organization_id) REFERENCES publishers (id, organization_id),
    CONSTRAINT payout_requests_key UNIQUE (organization_id, idempotency_key),
    CONSTRAINT payout_requests_two_people CHECK (
        decided_by IS NULL OR decided_by <> requested_by OR state IN ('REJECTING', 'REJECTED')
    ),
    CONSTRAINT payout_requests_destination CHECK (
        (iban IS NOT NULL AND routing_number IS NULL AND account_number IS NULL)
        OR (iban IS NULL AND routing_number IS NOT NULL AND account_number IS NOT NULL)
    )
);

CREATE INDEX payout_requests_of_publisher ON payout_requests (publisher_id, id);

CREATE INDEX payout_requests_left_over ON payout_requests (retry_at)
WHERE state IN ('RESERVING', 'APPROVED', 'REJECTING');
