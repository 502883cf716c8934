DROP TABLE debt_changes;

-- What is on hold can be taken by the publisher again: a release that does not know the account would never give it back.
INSERT INTO transfers (
    id, debit_account_id, credit_account_id, amount_micros, currency_code, kind, reference, idempotency_key
)
SELECT
    uuidv7(), held.id, payable.id, held.balance_micros, held.currency_code, 'CORRECTION', held.organization_id,
    'earnings_rollback:' || uuidv7()
FROM accounts AS held
INNER JOIN accounts AS payable
    ON payable.kind = 'PUBLISHER_PAYABLE' AND payable.subject = held.subject
    AND payable.currency_code = held.currency_code
WHERE held.kind = 'PUBLISHER_ON_HOLD' AND held.balance_micros > 0;

CREATE OR REPLACE FUNCTION is_account(kind text, is_platforms_own boolean) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE
        WHEN kind IN (
            'AVAILABLE', 'ESCROW', 'SPENT', 'DEBT', 'PUBLISHER_PAYABLE', 'PUBLISHER_PENDING', 'PUBLISHER_PAID'
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
        'PAYOUT_RESERVE', 'PAYOUT_CANCEL', 'PAYOUT_PAID', 'PAYOUT_RETURN',
        'REFUND', 'DISPUTE', 'REVERSAL', 'DEBT_REPAYMENT', 'FEE', 'SUSPENSE', 'CORRECTION'
    );
END
$$;
