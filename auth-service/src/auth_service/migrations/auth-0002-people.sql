-- runs-with: 1
ALTER TABLE users
    ADD COLUMN email_verified_at timestamptz,
    ADD COLUMN firebase_uid text;

ALTER TABLE sessions
    ADD COLUMN refreshed_at timestamptz,
    -- Where it was begun, and what the browser or program called itself.
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '';

-- Each works once; a second use ends the session. Only hashes are kept.
CREATE TABLE refresh_tokens (
    hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

-- One-time links. The signed token in the mail names the row; the row says whether it may still be used.
CREATE TABLE links (
    id uuid PRIMARY KEY,
    purpose text NOT NULL,
    -- The person or the invitation it is about.
    subject_id uuid NOT NULL,
    -- Where it was sent.
    email text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Used, or replaced by a newer one.
    used_at timestamptz
);

CREATE INDEX links_of_subject ON links (subject_id, purpose);

-- Mail that is to be sent, written with the change it tells of; a row goes once the mail server has taken the mail.
CREATE TABLE outgoing_mails (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    recipient text NOT NULL,
    parameters jsonb NOT NULL,
    -- The link in it, which is signed only when the mail is sent.
    link_id uuid REFERENCES links (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    tries bigint NOT NULL DEFAULT 0
);

CREATE INDEX outgoing_mails_next ON outgoing_mails (next_try_at);
