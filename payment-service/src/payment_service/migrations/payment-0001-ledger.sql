-- runs-with: 1
CREATE TABLE accounts (
    -- Derived from what the account is, so that two can never stand for the same.
    id uuid PRIMARY KEY,
    kind text NOT NULL CONSTRAINT accounts_kind CHECK (
        kind IN (
            'AVAILABLE', 'ESCROW', 'SPENT', 'PUBLISHER_PAYABLE', 'PUBLISHER_PENDING', 'PUBLISHER_PAID',
            'PLATFORM_REVENUE', 'PROVIDER_CLEARING'
        )
    ),
    -- NULL for the platform's own.
    organization_id uuid,
    -- The campaign, the publisher or the provider; empty where the organization says it all.
    subject text NOT NULL,
    currency_code text NOT NULL,
    debits_micros bigint NOT NULL DEFAULT 0,
    credits_micros bigint NOT NULL DEFAULT 0,
    balance_micros bigint NOT NULL GENERATED ALWAYS AS (credits_micros - debits_micros) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accounts_floor CHECK (kind = 'PROVIDER_CLEARING' OR credits_micros >= debits_micros),
    CONSTRAINT accounts_owner CHECK (
        (organization_id IS NULL) = (kind IN ('PLATFORM_REVENUE', 'PROVIDER_CLEARING'))
    ),
    CONSTRAINT accounts_one UNIQUE NULLS NOT DISTINCT (organization_id, currency_code, kind, subject),
    -- What transfers refer to, so that both of their accounts are in their currency.
    CONSTRAINT accounts_currency UNIQUE (id, currency_code)
-- Room for updates in place: no index has a column that a transfer changes.
) WITH (fillfactor = 70);

CREATE INDEX accounts_of_subject ON accounts (subject);

CREATE TABLE transfers (
    id uuid PRIMARY KEY,
    -- The balance of this account falls,
    debit_account_id uuid NOT NULL,
    -- and that of this one rises.
    credit_account_id uuid NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT transfers_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    kind text NOT NULL CONSTRAINT transfers_kind CHECK (
        kind IN (
            'DEPOSIT', 'HOLD', 'RELEASE', 'SPEND', 'PUBLISHER_SHARE', 'PLATFORM_SHARE',
            'PAYOUT_RESERVE', 'PAYOUT_CANCEL', 'PAYOUT_PAID', 'PAYOUT_RETURN'
        )
    ),
    -- The payment, campaign or payout that it was for.
    reference uuid NOT NULL,
    idempotency_key text NOT NULL CONSTRAINT transfers_once UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT transfers_two_accounts CHECK (debit_account_id <> credit_account_id),
    CONSTRAINT transfers_debit FOREIGN KEY (debit_account_id, currency_code) REFERENCES accounts (id, currency_code),
    CONSTRAINT transfers_credit FOREIGN KEY (credit_account_id, currency_code) REFERENCES accounts (id, currency_code)
);

-- What became of an item of PostSpend, for its repeats.
CREATE TABLE spends (
    escrow_id uuid NOT NULL REFERENCES accounts (id),
    idempotency_key text NOT NULL,
    asked_micros bigint NOT NULL,
    posted_micros bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (escrow_id, idempotency_key),
    CONSTRAINT spends_part CHECK (posted_micros BETWEEN 0 AND asked_micros)
);

-- The transfers of one statement take effect on their accounts together; accounts_floor has the last word.
CREATE FUNCTION post_transfers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In the order of ids, as everybody locks accounts: nobody waits in a circle.
    PERFORM 1 FROM accounts
    WHERE id IN (SELECT debit_account_id FROM posted UNION SELECT credit_account_id FROM posted)
    ORDER BY id
    FOR NO KEY UPDATE;

    UPDATE accounts
    SET debits_micros = debits_micros + moved.debits, credits_micros = credits_micros + moved.credits
    FROM (
        SELECT account_id, sum(debits) AS debits, sum(credits) AS credits
        FROM (
            SELECT debit_account_id AS account_id, amount_micros AS debits, 0 AS credits FROM posted
            UNION ALL
            SELECT credit_account_id, 0, amount_micros FROM posted
        ) AS sides
        GROUP BY account_id
    ) AS moved
    WHERE accounts.id = moved.account_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER transfers_post AFTER INSERT ON transfers
REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION post_transfers();

CREATE FUNCTION guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.debits_micros = 0 AND NEW.credits_micros = 0 THEN
        RETURN NEW;
    END IF;
    -- Deeper than one: the update comes from post_transfers.
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'accounts are opened empty, change by transfers alone, and stay';
END
$$;

CREATE TRIGGER accounts_guard BEFORE INSERT OR UPDATE OR DELETE ON accounts
FOR EACH ROW EXECUTE FUNCTION guard_account();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to; post a correcting transfer';
END
$$;

CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE ON transfers
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_kept BEFORE TRUNCATE ON transfers
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER accounts_kept BEFORE TRUNCATE ON accounts
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
