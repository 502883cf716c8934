-- runs-with: 1
CREATE TABLE campaigns (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    name text NOT NULL,
    state text NOT NULL CONSTRAINT campaigns_state CHECK (state IN ('DRAFT', 'ACTIVE', 'PAUSED', 'COMPLETED')),
    state_reasons text [] NOT NULL,
    budget_micros bigint NOT NULL CONSTRAINT campaigns_budget CHECK (budget_micros > 0),
    daily_budget_micros bigint CONSTRAINT campaigns_daily_budget CHECK (
        daily_budget_micros BETWEEN 1 AND budget_micros
    ),
    currency_code text NOT NULL,
    start_time timestamptz,
    end_time timestamptz CONSTRAINT campaigns_end_time CHECK (end_time > start_time),
    target_url text NOT NULL,
    countries text [] NOT NULL,
    devices text [] NOT NULL,
    bid_model text NOT NULL CONSTRAINT campaigns_bid_model CHECK (bid_model IN ('CPM', 'CPC', 'CPA')),
    price_micros bigint NOT NULL CONSTRAINT campaigns_price CHECK (price_micros > 0),
    networks text [] NOT NULL,
    -- Rendered as the etag.
    version bigint NOT NULL,
    -- The key of the budget's hold: set before it is asked for, gone once it was refused or given back.
    hold_key text,
    -- Set before the hold is given back, so that a crash in between is carried on with and not held anew by the old key.
    hold_returning boolean NOT NULL,
    -- When it last ceased to be ACTIVE; null while it is, and in DRAFT.
    stopped_at timestamptz,
    created_at timestamptz NOT NULL,
    -- Strictly increases with every event about the campaign, also those that carry nothing but new figures.
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);

CREATE INDEX campaigns_of_organization ON campaigns (organization_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX campaigns_of_organization_in_state ON campaigns (organization_id, state, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX campaigns_active ON campaigns (id) WHERE state = 'ACTIVE';
CREATE INDEX campaigns_stopped ON campaigns (stopped_at) WHERE stopped_at IS NOT NULL;

-- A campaign's place at a network, from when it is first started.
CREATE TABLE campaign_networks (
    organization_id uuid NOT NULL,
    campaign_id uuid NOT NULL REFERENCES campaigns (id),
    network text NOT NULL,
    -- What it is called there. Kept, because the campaign's own name may change before it is looked for again.
    external_name text NOT NULL,
    external_id text,
    state text NOT NULL CONSTRAINT campaign_networks_state CHECK (state IN ('PENDING', 'PLAYING', 'STOPPED')),
    synced_at timestamptz,
    PRIMARY KEY (campaign_id, network)
);

-- What a network reports, cumulative a day (UTC) and zone; zone_id is '' where the network names none.
CREATE TABLE network_stats (
    organization_id uuid NOT NULL,
    campaign_id uuid NOT NULL REFERENCES campaigns (id),
    network text NOT NULL,
    day date NOT NULL,
    zone_id text NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    conversions bigint NOT NULL,
    spend_micros bigint NOT NULL,
    synced_at timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, network, day, zone_id)
);

-- What the ledger is asked to take; the id is the idempotency key.
CREATE TABLE spend_postings (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    campaign_id uuid NOT NULL REFERENCES campaigns (id),
    network text NOT NULL,
    day date NOT NULL,
    zone_id text NOT NULL,
    amount_micros bigint NOT NULL CONSTRAINT spend_postings_amount CHECK (amount_micros > 0),
    currency_code text NOT NULL,
    -- Whether it has been asked whose zone it is: what is sent to the ledger must not change between tries.
    resolved boolean NOT NULL,
    publisher_organization_id uuid,
    publisher_id uuid,
    share_basis_points bigint,
    -- Null until the ledger has answered; less than amount_micros where the hold was too small.
    posted_micros bigint CONSTRAINT spend_postings_posted CHECK (posted_micros BETWEEN 0 AND amount_micros),
    publisher_micros bigint,
    created_at timestamptz NOT NULL
);

CREATE INDEX spend_postings_of_campaign ON spend_postings (campaign_id, network, day, zone_id);
CREATE INDEX spend_postings_unposted ON spend_postings (campaign_id, id) WHERE posted_micros IS NULL;
