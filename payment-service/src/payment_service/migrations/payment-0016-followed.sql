-- runs-with: 1
ALTER TABLE refunds
-- What of a FAILED one has come back; NULL: all of it.
ADD COLUMN returned_micros bigint,
-- How often it came back after it had been sent: a chain can forget a block and come back to it.
ADD COLUMN reversals bigint NOT NULL DEFAULT 0,
-- Until when its provider is asked whether it came back; NULL: it is final. The default is for the release before.
ADD COLUMN followed_until timestamptz DEFAULT now() + INTERVAL '60 days',
-- When its provider is asked next.
ADD COLUMN ask_at timestamptz DEFAULT now() + INTERVAL '1 day',
ADD CONSTRAINT refunds_returned CHECK (returned_micros BETWEEN 0 AND amount_micros) NOT VALID;

-- Their providers have nothing that could come back.
UPDATE refunds SET followed_until = NULL WHERE state = 'FAILED';

ALTER TABLE payouts
-- What of a FAILED one has come back; NULL: all of it.
ADD COLUMN returned_micros bigint,
ADD CONSTRAINT payouts_returned CHECK (returned_micros BETWEEN 0 AND amount_micros) NOT VALID;

-- The block in which the transaction was when it was believed; NULL where that is not known.
ALTER TABLE crypto_refunds ADD COLUMN block_number bigint;

ALTER TABLE deposits
-- What of it its sender's bank has taken back.
ADD COLUMN recalled_micros bigint NOT NULL DEFAULT 0,
ADD CONSTRAINT deposits_recalled CHECK (recalled_micros BETWEEN 0 AND amount_micros) NOT VALID;

-- The lines of a bank's statement that took back a deposit or a part of it: each takes once.
CREATE TABLE deposit_recalls (
    deposit_id uuid NOT NULL,
    line_key text NOT NULL,
    -- Of the whole line, also where that is more than what was left of the deposit.
    amount_micros bigint NOT NULL CONSTRAINT deposit_recalls_amount CHECK (amount_micros > 0),
    booked_at timestamptz NOT NULL,
    PRIMARY KEY (deposit_id, line_key)
);
