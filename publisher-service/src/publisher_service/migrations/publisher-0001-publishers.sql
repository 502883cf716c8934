-- runs-with: 1
CREATE TABLE publishers (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    state text NOT NULL CONSTRAINT publishers_state CHECK (state IN ('PENDING', 'APPROVED')),
    -- Hundredths of a percent of the spend in its zones.
    share_basis_points bigint NOT NULL
    CONSTRAINT publishers_share CHECK (share_basis_points BETWEEN 0 AND 10000),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT publishers_one_per_organization UNIQUE (organization_id),
    -- What the keys below point at, so that no row can name another tenant's.
    CONSTRAINT publishers_tenant UNIQUE (id, organization_id)
);

CREATE TABLE sites (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    publisher_id uuid NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (publisher_id, organization_id) REFERENCES publishers (id, organization_id),
    CONSTRAINT sites_of_publisher UNIQUE (publisher_id, id)
);

CREATE TABLE zones (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    publisher_id uuid NOT NULL,
    site_id uuid NOT NULL,
    name text NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (publisher_id, organization_id) REFERENCES publishers (id, organization_id),
    CONSTRAINT zones_site FOREIGN KEY (publisher_id, site_id) REFERENCES sites (publisher_id, id),
    CONSTRAINT zones_of_publisher UNIQUE (publisher_id, id)
);
