-- runs-with: 1
-- What customers write into bank transfers, so that it can be told which payment they are for.
CREATE TABLE bank_references (
    -- Without dashes.
    reference text PRIMARY KEY,
    payment_id uuid NOT NULL CONSTRAINT bank_references_payment UNIQUE,
    organization_id uuid NOT NULL,
    created_at timestamptz NOT NULL
);

-- The transfers by which staff have sent refunds: each serves one.
CREATE TABLE bank_refunds (transfer_id text PRIMARY KEY, refund_id uuid NOT NULL);
