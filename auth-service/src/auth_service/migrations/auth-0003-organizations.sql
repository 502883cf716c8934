-- runs-with: 1
ALTER TABLE roles
    -- The organization that made it; none for those that every organization has.
    ADD COLUMN organization_id uuid,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

ALTER TABLE roles
    ADD CONSTRAINT roles_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id)
    ON DELETE CASCADE NOT VALID;

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    -- Normalised, as users' are.
    email text NOT NULL,
    role_code text NOT NULL REFERENCES roles (code),
    invited_by uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz
);

CREATE UNIQUE INDEX invitations_open_key ON invitations (organization_id, email) WHERE accepted_at IS NULL;

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The key that made it, where it was not its maker in person; it ends with that one.
    made_by uuid REFERENCES api_keys (id) ON DELETE CASCADE,
    name text NOT NULL,
    -- How the secret begins, to tell keys apart.
    prefix text NOT NULL,
    -- SHA-256 of the secret, which is random enough to need no slow hash.
    hash bytea NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
    permissions bigint[] NOT NULL,
    allowed_cidrs cidr[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);

CREATE INDEX api_keys_of_organization ON api_keys (organization_id, id);
CREATE INDEX api_keys_made_by ON api_keys (made_by);
