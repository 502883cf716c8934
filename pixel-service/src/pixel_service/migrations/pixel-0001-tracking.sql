-- runs-with: 1
CREATE TABLE pixels (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    name text NOT NULL,
    goals text [] NOT NULL CONSTRAINT pixels_goals CHECK (cardinality(goals) > 0),
    -- The campaign's own page and currency, copied so that tracking asks nobody.
    target_url text NOT NULL,
    currency_code text NOT NULL,
    -- Of the newest change to the campaign that was copied; null: as it was when the pixel was made.
    campaign_updated_at timestamptz,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);

CREATE INDEX pixels_of_organization ON pixels (organization_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX pixels_of_campaign ON pixels (organization_id, campaign_id, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE conversions (
    event_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    pixel_id uuid NOT NULL REFERENCES pixels (id),
    -- The click's tracking event; null: none was named.
    click_id uuid,
    goal text NOT NULL,
    -- Null: none was named.
    transaction_id text,
    value_micros bigint NOT NULL CONSTRAINT conversions_value CHECK (value_micros >= 0),
    currency_code text NOT NULL,
    created_at timestamptz NOT NULL
);

-- A conversion counts once, for ever: by its transaction, or by its click where it has no transaction.
CREATE UNIQUE INDEX conversions_by_transaction ON conversions (organization_id, transaction_id, goal, click_id)
NULLS NOT DISTINCT WHERE transaction_id IS NOT NULL;
CREATE UNIQUE INDEX conversions_by_click ON conversions (organization_id, click_id, goal)
WHERE transaction_id IS NULL AND click_id IS NOT NULL;

-- What was collected and is no event, and why.
CREATE TABLE rejections (
    day date NOT NULL,
    reason text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (day, reason)
);
