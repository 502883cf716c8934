-- runs-with: 1
CREATE OR REPLACE FUNCTION is_account(kind text, is_platforms_own boolean) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE
        WHEN kind IN (
            'AVAILABLE', 'ESCROW', 'SPENT', 'DEBT', 'PUBLISHER_PAYABLE', 'PUBLISHER_PENDING', 'PUBLISHER_PAID',
            'PUBLISHER_ON_HOLD'
        ) THEN NOT is_platforms_own
        WHEN kind IN ('PLATFORM_REVENUE', 'SUSPENSE', 'FEES') THEN is_platforms_own
        -- An organization's, or, of money that is nobody's yet, the platform's own.
        ELSE kind = 'PROVIDER_CLEARING'
    END;
END
$$;

CREATE OR REPLACE FUNCTION is_transfer(kind text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN kind IN (
        'DEPOSIT', 'HOLD', 'RELEASE', 'SPEND', 'PUBLISHER_SHARE', 'PLATFORM_SHARE',
        'PAYOUT_RESERVE', 'PAYOUT_CANCEL', 'PAYOUT_PAID', 'PAYOUT_RETURN', 'EARNINGS_HOLD', 'EARNINGS_RELEASE',
        'REFUND', 'DISPUTE', 'REVERSAL', 'DEBT_REPAYMENT', 'FEE', 'SUSPENSE', 'CORRECTION'
    );
END
$$;

-- Organizations whose debt has changed, or that publishers have earned from while they owe: their publishers' earnings
-- are to be put on hold, or released, and the change is to be announced.
CREATE TABLE debt_changes (
    organization_id uuid NOT NULL,
    currency_code text NOT NULL,
    -- Grows with every change, so that one that comes while another is worked on is not lost.
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (organization_id, currency_code)
);

INSERT INTO debt_changes (organization_id, currency_code)
SELECT organization_id, currency_code FROM accounts WHERE kind = 'DEBT' AND balance_micros < 0;
