-- runs-with: 1
ALTER TABLE payments
-- Why it is not further, where it is the provider that keeps it.
ADD COLUMN pending_reason text NOT NULL DEFAULT '',
-- What was credited for it, less what was taken back because its chain forgot it.
ADD COLUMN paid_micros bigint NOT NULL DEFAULT 0,
-- What of that went back, or is going back.
ADD COLUMN refunded_micros bigint NOT NULL DEFAULT 0,
-- What of that is in disputes that are open or lost.
ADD COLUMN disputed_micros bigint NOT NULL DEFAULT 0,
ADD COLUMN outcome text NOT NULL DEFAULT '',
-- Whether nothing more is waited for.
ADD COLUMN is_closed boolean NOT NULL DEFAULT FALSE,
ADD COLUMN expires_at timestamptz,
-- What the customer chose to pay with, and what they are told of how to pay.
ADD COLUMN choice jsonb NOT NULL DEFAULT '{}',
ADD COLUMN instructions jsonb NOT NULL DEFAULT '{}',
ADD CONSTRAINT payments_figures CHECK (
    paid_micros >= 0 AND refunded_micros >= 0 AND disputed_micros >= 0
) NOT VALID,
ADD CONSTRAINT payments_outcome CHECK (
    outcome IN ('', 'EXACT', 'UNDERPAID', 'OVERPAID', 'LATE', 'REPEATED')
) NOT VALID;

UPDATE payments
SET paid_micros = amount_micros, outcome = 'EXACT', is_closed = TRUE,
    -- Only where this was applied before, and taken back.
    refunded_micros = CASE state WHEN 'REFUNDED' THEN amount_micros ELSE 0 END,
    disputed_micros = CASE state WHEN 'DISPUTED' THEN amount_micros ELSE 0 END
WHERE state IN ('SUCCEEDED', 'REFUNDED', 'DISPUTED');

-- Refused by its provider for good.
UPDATE payments SET is_closed = TRUE WHERE state = 'FAILED' AND external_id IS NULL;

-- An amount of money that has arrived, or is about to.
CREATE TABLE deposits (
    id uuid PRIMARY KEY,
    provider text NOT NULL,
    -- The provider's own, for ever: what makes it be credited once.
    external_key text NOT NULL,
    -- NULL while nobody knows whose it is.
    payment_id uuid,
    organization_id uuid,
    state text NOT NULL CONSTRAINT deposits_state CHECK (state IN ('SEEN', 'CREDITED', 'REVERSED', 'UNMATCHED')),
    amount_micros bigint NOT NULL CONSTRAINT deposits_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    -- What was sent, how much of it in its smallest unit, and at which rate it was counted; empty for the currency itself.
    asset text NOT NULL DEFAULT '',
    asset_amount numeric(78, 0),
    rate numeric,
    detail jsonb NOT NULL DEFAULT '{}',
    -- How often it was taken back: a chain can forget a block and come back to it.
    reversals bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT deposits_once UNIQUE (provider, external_key),
    CONSTRAINT deposits_owner CHECK (
        (payment_id IS NULL) = (organization_id IS NULL) AND (payment_id IS NOT NULL OR state IN ('UNMATCHED', 'REVERSED'))
    )
);

CREATE INDEX deposits_of_payment ON deposits (payment_id, id);
CREATE INDEX deposits_unmatched ON deposits (id DESC) WHERE state = 'UNMATCHED';

-- What was credited before: repeats of its news find it here.
INSERT INTO deposits (
    id, provider, external_key, payment_id, organization_id, state, amount_micros, currency_code, created_at, updated_at
)
SELECT id, provider, external_id, id, organization_id, 'CREDITED', amount_micros, currency_code, updated_at, updated_at
FROM payments
WHERE paid_micros > 0;

CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    provider text NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT refunds_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    state text NOT NULL CONSTRAINT refunds_state CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED')),
    -- The provider's id; NULL until the provider has answered.
    external_id text,
    -- For the customer to read.
    reason text NOT NULL DEFAULT '',
    -- What staff sent it with, where the provider does not send it itself.
    sent_as text NOT NULL DEFAULT '',
    -- The member of staff; NULL where it was made at the provider.
    asked_by uuid,
    pending_reason text NOT NULL DEFAULT '',
    failure_message text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT refunds_external UNIQUE (provider, external_id)
);

CREATE INDEX refunds_of_payment ON refunds (payment_id, id DESC);
CREATE INDEX refunds_open ON refunds (updated_at) WHERE state = 'PENDING';

CREATE TABLE disputes (
    id uuid PRIMARY KEY,
    provider text NOT NULL,
    external_id text NOT NULL,
    payment_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT disputes_amount CHECK (amount_micros > 0),
    -- What of it was in the wallet when it was opened, and is set aside since.
    frozen_micros bigint NOT NULL,
    currency_code text NOT NULL,
    state text NOT NULL CONSTRAINT disputes_state CHECK (state IN ('OPEN', 'WON', 'LOST')),
    reason text NOT NULL DEFAULT '',
    -- What the provider takes for it.
    fee_micros bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT disputes_external UNIQUE (provider, external_id),
    CONSTRAINT disputes_frozen CHECK (frozen_micros BETWEEN 0 AND amount_micros)
);

CREATE INDEX disputes_of_payment ON disputes (payment_id, id DESC);

-- One a payment, numbered without gaps in its organization.
CREATE TABLE receipts (
    organization_id uuid NOT NULL,
    number bigint NOT NULL,
    payment_id uuid NOT NULL CONSTRAINT receipts_payment UNIQUE,
    issued_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, number)
);

CREATE TABLE receipt_counters (organization_id uuid PRIMARY KEY, last_number bigint NOT NULL);

INSERT INTO receipts (organization_id, number, payment_id, issued_at)
SELECT organization_id, row_number() OVER (PARTITION BY organization_id ORDER BY updated_at, id), id, updated_at
FROM payments
WHERE paid_micros > 0;

INSERT INTO receipt_counters (organization_id, last_number)
SELECT organization_id, max(number) FROM receipts GROUP BY organization_id;
