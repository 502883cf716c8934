-- runs-with: 1
-- What customers want back. Nothing is set aside for it.
CREATE TABLE refund_requests (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT refund_requests_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    state text NOT NULL CONSTRAINT refund_requests_state CHECK (
        state IN ('REQUESTED', 'ACCEPTED', 'DECLINED', 'WITHDRAWN')
    ),
    -- The customer's words, and those of staff who decline.
    reason text NOT NULL DEFAULT '',
    decline_reason text NOT NULL DEFAULT '',
    -- The refund that answers it.
    refund_id uuid,
    asked_by uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT refund_requests_answer CHECK ((refund_id IS NOT NULL) = (state = 'ACCEPTED'))
);

CREATE UNIQUE INDEX refund_requests_one_open ON refund_requests (payment_id) WHERE state = 'REQUESTED';
CREATE INDEX refund_requests_open ON refund_requests (id) WHERE state = 'REQUESTED';
CREATE INDEX refund_requests_of_payment ON refund_requests (payment_id, id);
CREATE INDEX refund_requests_of_refund ON refund_requests (refund_id) WHERE refund_id IS NOT NULL;
