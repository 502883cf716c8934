-- runs-with: 1
CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- Normalised: trimmed and in lower case.
    email text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT users_email_key UNIQUE (email)
);

CREATE TABLE credentials (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- argon2id in PHC string format.
    password_hash text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    kind text NOT NULL CONSTRAINT organizations_kind CHECK (kind IN ('ADVERTISER', 'PUBLISHER', 'PLATFORM')),
    owner_id uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- The platform has one organization of its own.
CREATE UNIQUE INDEX organizations_one_platform ON organizations (kind) WHERE kind = 'PLATFORM';

CREATE TABLE roles (
    code text PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL
);

CREATE TABLE permissions (
    code bigint PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE role_permissions (
    role_code text NOT NULL REFERENCES roles (code) ON DELETE CASCADE,
    permission_code bigint NOT NULL REFERENCES permissions (code) ON DELETE CASCADE,
    PRIMARY KEY (role_code, permission_code)
);

CREATE TABLE user_roles (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role_code text NOT NULL REFERENCES roles (code),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, organization_id)
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    ended_at timestamptz
);

CREATE INDEX sessions_of_user ON sessions (user_id);
