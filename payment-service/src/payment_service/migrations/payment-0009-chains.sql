-- runs-with: 1
-- What an address is derived with; a number that a crash lost is never given again.
CREATE SEQUENCE crypto_address_number AS bigint MINVALUE 0 START WITH 0 MAXVALUE 2147483647;

-- One deposit address a payment.
CREATE TABLE crypto_addresses (
    payment_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    number bigint NOT NULL CONSTRAINT crypto_addresses_number UNIQUE,
    -- In small letters, as logs have it.
    address text NOT NULL CONSTRAINT crypto_addresses_address UNIQUE,
    chain_id bigint NOT NULL,
    coin text NOT NULL,
    currency_code text NOT NULL,
    -- Units of the currency for one coin, as the customer was told, and until when that holds.
    rate numeric NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);

-- How far a chain was read.
CREATE TABLE crypto_chains (
    chain_id bigint PRIMARY KEY,
    -- The last block that was read, and the last that was read once more when it had its confirmations.
    read_number bigint NOT NULL,
    confirmed_number bigint NOT NULL,
    -- Why nothing more is read; empty while all is well.
    halted_reason text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL,
    CONSTRAINT crypto_chains_order CHECK (confirmed_number <= read_number)
);

-- The hashes of the last blocks that were read, by which a reorganization is found.
CREATE TABLE crypto_blocks (
    chain_id bigint NOT NULL,
    number bigint NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (chain_id, number)
);

-- What was sent to our addresses.
CREATE TABLE crypto_transfers (
    -- chain:block hash:transaction hash:index of the log
    key text PRIMARY KEY,
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    transaction_hash text NOT NULL,
    payment_id uuid NOT NULL,
    address text NOT NULL,
    coin text NOT NULL,
    amount numeric(78, 0) NOT NULL CONSTRAINT crypto_transfers_amount CHECK (amount > 0),
    rate numeric NOT NULL,
    currency_code text NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT crypto_transfers_worth CHECK (amount_micros > 0),
    -- NEW: not booked. ORPHANED: its block is gone, and what was booked is to be taken back. FORGOTTEN: it has been.
    state text NOT NULL CONSTRAINT crypto_transfers_state CHECK (
        state IN ('NEW', 'SEEN', 'CREDITED', 'ORPHANED', 'FORGOTTEN')
    ),
    shown_confirmations bigint NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL
);

CREATE INDEX crypto_transfers_open ON crypto_transfers (chain_id, block_number) WHERE state IN ('NEW', 'SEEN', 'ORPHANED');
CREATE INDEX crypto_transfers_by_block ON crypto_transfers (chain_id, block_number);
CREATE INDEX crypto_transfers_of_payment ON crypto_transfers (payment_id);

-- What staff sent back by hand: a transaction serves one refund only.
CREATE TABLE crypto_refunds (
    chain_id bigint NOT NULL,
    transaction_hash text NOT NULL,
    refund_id uuid NOT NULL,
    PRIMARY KEY (chain_id, transaction_hash)
);
