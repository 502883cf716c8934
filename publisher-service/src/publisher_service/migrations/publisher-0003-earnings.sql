-- runs-with: 1
-- What the ledger says publishers earned. No key to zones or publishers: the ledger has the last word on both.
CREATE TABLE earnings (
    organization_id uuid NOT NULL,
    publisher_id uuid NOT NULL,
    zone_id uuid NOT NULL,
    day date NOT NULL,
    currency_code text NOT NULL,
    amount_micros bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, currency_code, day, zone_id)
);
