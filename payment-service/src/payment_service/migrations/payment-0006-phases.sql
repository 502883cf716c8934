-- runs-with: 1
-- squawk-ignore-file ban-drop-constraint
-- Each comes back in the same statement with more in it, or is what post_transfers sees to from here on.
-- A CHECK's list is read anew by each statement, 15 µs a list; a function's is kept.
CREATE FUNCTION is_account(kind text, is_platforms_own boolean) RETURNS boolean
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

CREATE FUNCTION has_floor(kind text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN kind NOT IN ('DEBT', 'PROVIDER_CLEARING', 'FEES');
END
$$;

CREATE FUNCTION is_phase(phase text, ends boolean, frees boolean, expires boolean) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE
        WHEN phase = 'POSTED' THEN NOT (ends OR frees OR expires)
        WHEN phase = 'PENDING' THEN NOT (ends OR frees)
        ELSE phase IN ('COMPLETED', 'VOIDED') AND ends AND frees AND NOT expires
    END;
END
$$;

CREATE FUNCTION is_transfer(kind text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN kind IN (
        'DEPOSIT', 'HOLD', 'RELEASE', 'SPEND', 'PUBLISHER_SHARE', 'PLATFORM_SHARE',
        'PAYOUT_RESERVE', 'PAYOUT_CANCEL', 'PAYOUT_PAID', 'PAYOUT_RETURN',
        'REFUND', 'DISPUTE', 'REVERSAL', 'DEBT_REPAYMENT', 'FEE', 'SUSPENSE', 'CORRECTION'
    );
END
$$;

-- Set aside, and waiting for the transfer that ends it: nobody else can take it.
ALTER TABLE accounts
ADD COLUMN debits_pending_micros bigint NOT NULL DEFAULT 0,
ADD COLUMN credits_pending_micros bigint NOT NULL DEFAULT 0,
DROP CONSTRAINT accounts_kind,
DROP CONSTRAINT accounts_owner,
ADD CONSTRAINT accounts_kind CHECK (is_account(kind, organization_id IS NULL)) NOT VALID,
DROP CONSTRAINT accounts_floor,
ADD CONSTRAINT accounts_floor CHECK (
    credits_micros >= debits_micros + debits_pending_micros OR NOT has_floor(kind)
) NOT VALID,
ADD CONSTRAINT accounts_ceiling CHECK (
    kind <> 'DEBT' OR credits_micros + credits_pending_micros <= debits_micros
) NOT VALID,
ADD CONSTRAINT accounts_pending CHECK (debits_pending_micros >= 0 AND credits_pending_micros >= 0) NOT VALID;

ALTER TABLE transfers
ADD COLUMN phase text NOT NULL DEFAULT 'POSTED',
-- The PENDING transfer that this one ends,
ADD COLUMN pending_id uuid,
-- and what that one had set aside; the trigger knows it.
ADD COLUMN freed_micros bigint,
-- When a PENDING one can no longer be completed; NULL: never.
ADD COLUMN expires_at timestamptz,
ADD CONSTRAINT transfers_phase CHECK (
    is_phase(phase, pending_id IS NOT NULL, freed_micros IS NOT NULL, expires_at IS NOT NULL)
) NOT VALID,
DROP CONSTRAINT transfers_kind,
ADD CONSTRAINT transfers_kind CHECK (is_transfer(kind)) NOT VALID,
-- post_transfers finds both accounts, in the transfer's currency, or refuses; and accounts stay. These asked the same
-- again, by two statements and two locks a transfer: a third of its cost.
DROP CONSTRAINT transfers_debit,
DROP CONSTRAINT transfers_credit;
ALTER TABLE accounts DROP CONSTRAINT accounts_currency;

-- PENDING transfers that have not ended; as many as there are, whatever has been.
CREATE TABLE pendings (
    transfer_id uuid PRIMARY KEY,
    expires_at timestamptz
);

CREATE INDEX pendings_expiring ON pendings (expires_at) WHERE expires_at IS NOT NULL;

CREATE FUNCTION refuse_transfer(said text, rule text, state text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = said, ERRCODE = state, CONSTRAINT = rule, TABLE = 'transfers';
END
$$;

-- Before a transfer that ends another one is added: what it ends, and whether it may.
CREATE FUNCTION end_pending() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended transfers;
BEGIN
    SELECT * INTO ended FROM transfers WHERE id = NEW.pending_id;
    IF ended.phase IS DISTINCT FROM 'PENDING'
        OR (ended.debit_account_id, ended.credit_account_id, ended.currency_code)
        <> (NEW.debit_account_id, NEW.credit_account_id, NEW.currency_code)
        OR NEW.amount_micros > ended.amount_micros
        OR (NEW.phase = 'VOIDED' AND NEW.amount_micros < ended.amount_micros)
    THEN
        PERFORM refuse_transfer('it is not what was set aside', 'transfers_pending', 'check_violation');
    END IF;
    -- Whatever clock_timestamp() says: a transaction is as old as its beginning.
    IF NEW.phase = 'COMPLETED' AND ended.expires_at <= clock_timestamp() THEN
        PERFORM refuse_transfer('what was set aside has expired', 'transfers_expired', 'check_violation');
    END IF;
    DELETE FROM pendings WHERE transfer_id = NEW.pending_id;
    IF NOT found THEN
        PERFORM refuse_transfer('what was set aside has ended', 'transfers_ended', 'unique_violation');
    END IF;
    NEW.freed_micros := ended.amount_micros;
    RETURN NEW;
END
$$;

CREATE TRIGGER transfers_end BEFORE INSERT ON transfers
FOR EACH ROW WHEN (NEW.pending_id IS NOT NULL) EXECUTE FUNCTION end_pending();

CREATE FUNCTION begin_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pendings (transfer_id, expires_at) VALUES (NEW.id, NEW.expires_at);
    RETURN NULL;
END
$$;

CREATE TRIGGER transfers_begin AFTER INSERT ON transfers
FOR EACH ROW WHEN (NEW.phase = 'PENDING') EXECUTE FUNCTION begin_pending();

-- The transfers of one statement take effect on their accounts together; the accounts' constraints have the last word.
CREATE OR REPLACE FUNCTION post_transfers() RETURNS trigger LANGUAGE plpgsql
-- A plan for each number of rows costs more than it saves: most of a single transfer's time was planning. And the join is
-- from what has moved, in the order of ids, to the accounts' index, as everybody locks them: nobody waits in a circle.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    account record;
    sides bigint = 0;
    transfers bigint = 0;
    richer uuid[];
    currencies text[];
BEGIN
    FOR account IN
        UPDATE accounts
        SET debits_micros = debits_micros + moved.debits,
            credits_micros = credits_micros + moved.credits,
            debits_pending_micros = debits_pending_micros + moved.debits_pending,
            credits_pending_micros = credits_pending_micros + moved.credits_pending
        FROM (
            SELECT
                account_id, currency_code, count(*) AS sides, sum(debits) AS debits, sum(credits) AS credits,
                sum(debits_pending) AS debits_pending, sum(credits_pending) AS credits_pending
            FROM (
                SELECT
                    debit_account_id AS account_id, currency_code,
                    CASE WHEN phase IN ('POSTED', 'COMPLETED') THEN amount_micros ELSE 0 END AS debits, 0 AS credits,
                    CASE phase WHEN 'PENDING' THEN amount_micros ELSE -coalesce(freed_micros, 0) END AS debits_pending,
                    0 AS credits_pending
                FROM posted
                UNION ALL
                SELECT
                    credit_account_id, currency_code,
                    0, CASE WHEN phase IN ('POSTED', 'COMPLETED') THEN amount_micros ELSE 0 END,
                    0, CASE phase WHEN 'PENDING' THEN amount_micros ELSE -coalesce(freed_micros, 0) END
                FROM posted
            ) AS side
            GROUP BY account_id, currency_code
            ORDER BY account_id
        ) AS moved
        WHERE accounts.id = moved.account_id AND accounts.currency_code = moved.currency_code
        RETURNING
            accounts.organization_id, accounts.currency_code, moved.sides, (SELECT count(*) FROM posted) AS transfers,
            CASE accounts.kind
                WHEN 'AVAILABLE' THEN moved.credits > moved.debits + moved.debits_pending
                WHEN 'DEBT' THEN moved.debits > moved.credits
            END AS is_richer
    LOOP
        sides := sides + account.sides;
        transfers := account.transfers;
        IF account.is_richer THEN
            richer := richer || account.organization_id;
            currencies := currencies || account.currency_code;
        END IF;
    END LOOP;
    IF sides < 2 * transfers OR (sides = 0 AND EXISTS (SELECT 1 FROM posted)) THEN
        PERFORM refuse_transfer(
            'there is no such account in that currency', 'transfers_accounts', 'foreign_key_violation'
        );
    END IF;
    IF richer IS NULL THEN
        RETURN NULL;
    END IF;

    -- Nobody has something to take and owes something. Whoever adds to either has the wallet's lock, so that no two who
    -- do at the same time each believe that the other side is still empty.
    FOR place IN 1 .. cardinality(richer) LOOP
        SELECT
            max(balance_micros - debits_pending_micros) FILTER (WHERE kind = 'AVAILABLE') AS available,
            min(balance_micros) FILTER (WHERE kind = 'DEBT') AS debt
        INTO account
        FROM (
            SELECT kind, balance_micros, debits_pending_micros FROM accounts
            WHERE organization_id = richer[place] AND currency_code = currencies[place]
                AND kind IN ('AVAILABLE', 'DEBT') AND subject = ''
            ORDER BY id
            FOR NO KEY UPDATE
        ) AS wallet;
        IF account.debt < 0 AND coalesce(account.available, 1) > 0 THEN
            PERFORM refuse_transfer(
                'what a wallet has pays what it owes first', 'accounts_debt_first', 'check_violation'
            );
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

DROP TRIGGER accounts_guard ON accounts;

CREATE OR REPLACE FUNCTION guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'accounts are opened empty, change by transfers alone, and stay';
END
$$;

CREATE TRIGGER accounts_opened_empty BEFORE INSERT ON accounts
FOR EACH ROW WHEN (
    NEW.debits_micros <> 0 OR NEW.credits_micros <> 0
    OR NEW.debits_pending_micros <> 0 OR NEW.credits_pending_micros <> 0
) EXECUTE FUNCTION guard_account();
-- Deeper than none: the change comes from a trigger of transfers.
CREATE TRIGGER accounts_guard BEFORE UPDATE OR DELETE ON accounts
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION guard_account();

CREATE TRIGGER pendings_guard BEFORE INSERT OR UPDATE OR DELETE ON pendings
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER pendings_kept BEFORE TRUNCATE ON pendings
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A transfer to be posted. One parameter for all of a call: a dozen arrays took psycopg longer than the server the rest.
CREATE TYPE posting AS (
    -- Which of the call's chains it is in, from 1; they come in their order.
    chain integer,
    id uuid,
    debit_account_id uuid,
    credit_account_id uuid,
    amount_micros bigint,
    currency_code text,
    kind text,
    reference uuid,
    idempotency_key text,
    phase text,
    expires_at timestamptz,
    -- The key of the PENDING one that it ends; NULL where it ends none.
    pending_key text,
    -- What it is called in `spends`, by its debit account; NULL where it is none.
    answer text
);

-- Posts chains of transfers; those of a chain take effect together or not at all, and one chain that does not keeps no
-- other from it. Answers with the chains that were not posted, and why: REPEATED (all of it was posted before),
-- KEY_REUSED (for something else), ACCOUNT_MISSING (nothing of any chain was done), ANSWERED (there is a row in `spends`),
-- or the name of the constraint that refused it.
CREATE FUNCTION post_chains(postings posting []) RETURNS TABLE (chain integer, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    touched uuid[] = ARRAY(
        SELECT debit_account_id FROM unnest(postings) UNION SELECT credit_account_id FROM unnest(postings)
    );
    locked integer;
    most integer = (postings[cardinality(postings)]).chain;
    lows integer[] = '{1}';
    highs integer[] = ARRAY[most];
    low integer;
    high integer;
    rule text;
    is_locked boolean = FALSE;
BEGIN
    -- All at once, and only where that fails, by halves: most calls need one attempt, and one of 500 chains that fails
    -- costs 18 instead of 501.
    WHILE cardinality(lows) > 0 LOOP
        low := lows[cardinality(lows)];
        high := highs[cardinality(highs)];
        lows := trim_array(lows, 1);
        highs := trim_array(highs, 1);
        BEGIN
            -- Before a key is written: who waits for a key's other use must not have what that one waits for.
            IF NOT is_locked THEN
                PERFORM 1 FROM accounts WHERE id = ANY(touched) ORDER BY id FOR NO KEY UPDATE;
                GET DIAGNOSTICS locked = ROW_COUNT;
                -- One that came to be while this waited would be locked after those it should be before.
                IF locked < cardinality(touched) THEN
                    PERFORM refuse_transfer('there is no such account', 'transfers_accounts', 'foreign_key_violation');
                END IF;
            END IF;
            IF (postings[1]).answer IS NOT NULL AND EXISTS (
                SELECT 1 FROM unnest(postings) AS asked
                INNER JOIN spends
                    ON spends.escrow_id = asked.debit_account_id AND spends.idempotency_key = asked.answer
                WHERE asked.chain BETWEEN low AND high
            ) THEN
                PERFORM refuse_transfer('it was answered before', 'ANSWERED', 'unique_violation');
            END IF;
            INSERT INTO transfers (
                id, debit_account_id, credit_account_id, amount_micros, currency_code, kind, reference,
                idempotency_key, phase, expires_at, pending_id
            )
            SELECT
                -- Not from before it waited for its locks: a statement is in the order in which its lines took effect.
                greatest(made.id, uuidv7()),
                made.debit_account_id, made.credit_account_id, made.amount_micros, made.currency_code,
                made.kind, made.reference, made.idempotency_key, made.phase, made.expires_at,
                CASE WHEN made.pending_key IS NOT NULL THEN (
                    SELECT pending.id FROM transfers AS pending WHERE pending.idempotency_key = made.pending_key
                ) END
            FROM unnest(postings) AS made
            WHERE made.chain BETWEEN low AND high;
            is_locked := TRUE;
            CONTINUE;
        EXCEPTION WHEN integrity_constraint_violation OR unique_violation OR check_violation
            OR foreign_key_violation OR not_null_violation OR numeric_value_out_of_range THEN
            GET STACKED DIAGNOSTICS rule = CONSTRAINT_NAME;
        END;
        IF rule = 'transfers_accounts' THEN
            RETURN QUERY SELECT number, 'ACCOUNT_MISSING' FROM generate_series(1, most) AS number;
            RETURN;
        END IF;
        IF NOT is_locked THEN
            -- What failed has let go of its locks.
            PERFORM 1 FROM accounts WHERE id = ANY(touched) ORDER BY id FOR NO KEY UPDATE;
            is_locked := TRUE;
        END IF;
        IF low < high THEN
            lows := lows || ARRAY[(low + high) / 2 + 1, low];
            highs := highs || ARRAY[high, (low + high) / 2];
            CONTINUE;
        END IF;
        chain := low;
        outcome := coalesce(nullif(rule, ''), 'OUT_OF_RANGE');
        IF rule = 'transfers_once' THEN
            SELECT
                CASE
                    WHEN bool_and(
                        (made.debit_account_id, made.credit_account_id, made.amount_micros, made.currency_code)
                        IS NOT DISTINCT FROM
                        (asked.debit_account_id, asked.credit_account_id, asked.amount_micros, asked.currency_code)
                        AND (made.kind, made.reference, made.phase)
                        IS NOT DISTINCT FROM (asked.kind, asked.reference, asked.phase)
                    ) THEN 'REPEATED' ELSE 'KEY_REUSED'
                END
            INTO outcome
            FROM unnest(postings) AS asked
            LEFT JOIN transfers AS made ON made.idempotency_key = asked.idempotency_key
            WHERE asked.chain = low;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
