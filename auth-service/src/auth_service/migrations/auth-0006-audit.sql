-- runs-with: 1
-- Rows outlive their organizations and people, so nothing refers to those.
CREATE TABLE audit_logs (
    organization_id uuid NOT NULL,
    -- From 1 in each organization, without a gap.
    sequence bigint NOT NULL CONSTRAINT audit_logs_sequence CHECK (sequence >= 1),
    -- The event's.
    id uuid NOT NULL CONSTRAINT audit_logs_once UNIQUE,
    time timestamptz NOT NULL,
    actor text NOT NULL,
    user_id uuid,
    api_key_id uuid,
    service text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    address text NOT NULL,
    -- SHA-256 over the hash before it and this row.
    hash bytea NOT NULL,
    PRIMARY KEY (organization_id, sequence)
);

CREATE INDEX audit_logs_of_person ON audit_logs (organization_id, user_id, sequence);
CREATE INDEX audit_logs_of_action ON audit_logs (organization_id, action, sequence);
CREATE INDEX audit_logs_of_time ON audit_logs (organization_id, time);

-- The last row of each chain.
CREATE TABLE audit_heads (
    organization_id uuid PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to';
END
$$;

CREATE TRIGGER audit_logs_immutable BEFORE UPDATE OR DELETE ON audit_logs
FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_logs_kept BEFORE TRUNCATE ON audit_logs
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_kept BEFORE DELETE OR TRUNCATE ON audit_heads
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
