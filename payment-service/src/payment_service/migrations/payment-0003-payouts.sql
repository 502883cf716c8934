-- runs-with: 1
CREATE TABLE payouts (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    publisher_id uuid NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT payouts_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    state text NOT NULL CONSTRAINT payouts_state CHECK (
        state IN ('RESERVED', 'CANCELLED', 'SENDING', 'PROCESSING', 'PAID', 'FAILED')
    ),
    -- The bank account; NULL until it is to be sent.
    destination jsonb,
    -- The bank's ids, each stored before the next step is taken.
    recipient_id text,
    quote_id text,
    transfer_id text,
    failure_reason text NOT NULL DEFAULT '',
    -- Tries to send, and when the next may begin: whoever tries moves it into the future first. While PROCESSING: when
    -- the bank was last asked.
    attempts bigint NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT payouts_transfer UNIQUE (transfer_id)
);

CREATE INDEX payouts_unsent ON payouts (next_attempt_at) WHERE state = 'SENDING';
CREATE INDEX payouts_under_way ON payouts (next_attempt_at NULLS FIRST) WHERE state = 'PROCESSING';
