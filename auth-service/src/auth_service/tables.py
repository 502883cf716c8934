"""auth-service's tables, for the stores."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB

metadata = MetaData()
_time = DateTime(timezone=True)

users = Table(
    "users", metadata,
    Column("id", Uuid), Column("email", Text), Column("name", Text), Column("email_verified_at", _time),
    Column("firebase_uid", Text), Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
credentials = Table(
    "credentials", metadata, Column("user_id", Uuid), Column("password_hash", Text), Column("updated_at", _time)
)  # fmt: skip
organizations = Table(
    "organizations", metadata,
    Column("id", Uuid), Column("name", Text), Column("kind", Text), Column("owner_id", Uuid),
    Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
roles = Table(
    "roles", metadata,
    Column("code", Text), Column("name", Text), Column("description", Text), Column("organization_id", Uuid),
    Column("created_at", _time),
)  # fmt: skip
permissions = Table("permissions", metadata, Column("code", Integer), Column("name", Text))
role_permissions = Table(
    "role_permissions", metadata, Column("role_code", Text), Column("permission_code", Integer)
)  # fmt: skip
user_roles = Table(
    "user_roles", metadata,
    Column("user_id", Uuid), Column("organization_id", Uuid), Column("role_code", Text), Column("created_at", _time),
)  # fmt: skip
invitations = Table(
    "invitations", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("email", Text), Column("role_code", Text),
    Column("invited_by", Uuid), Column("created_at", _time), Column("expires_at", _time), Column("accepted_at", _time),
)  # fmt: skip
api_keys = Table(
    "api_keys", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("user_id", Uuid), Column("made_by", Uuid),
    Column("name", Text), Column("prefix", Text), Column("hash", LargeBinary), Column("permissions", ARRAY(BigInteger)),
    Column("allowed_cidrs", ARRAY(CIDR)), Column("created_at", _time), Column("expires_at", _time),
    Column("last_used_at", _time), Column("revoked_at", _time),
)  # fmt: skip
sessions = Table(
    "sessions", metadata,
    Column("id", Uuid), Column("user_id", Uuid), Column("created_at", _time), Column("refreshed_at", _time),
    Column("address", Text), Column("user_agent", Text), Column("ended_at", _time),
    Column("rotated_hash", LargeBinary), Column("successor_salt", LargeBinary),
)  # fmt: skip
refresh_tokens = Table(
    "refresh_tokens", metadata,
    Column("hash", LargeBinary), Column("session_id", Uuid), Column("created_at", _time), Column("used_at", _time),
)  # fmt: skip
links = Table(
    "links", metadata,
    Column("id", Uuid), Column("purpose", Text), Column("subject_id", Uuid), Column("email", Text),
    Column("created_at", _time), Column("expires_at", _time), Column("used_at", _time), Column("tries", BigInteger),
)  # fmt: skip
outgoing_mails = Table(
    "outgoing_mails", metadata,
    Column("id", Uuid), Column("kind", Text), Column("recipient", Text), Column("parameters", JSONB),
    Column("link_id", Uuid), Column("created_at", _time), Column("next_try_at", _time), Column("tries", BigInteger),
)  # fmt: skip
pending_marks = Table(
    "pending_marks", metadata, Column("id", Uuid), Column("key", Text), Column("lasts_s", BigInteger)
)  # fmt: skip
audit_logs = Table(
    "audit_logs", metadata,
    Column("organization_id", Uuid), Column("sequence", BigInteger), Column("id", Uuid), Column("time", _time),
    Column("actor", Text), Column("user_id", Uuid), Column("api_key_id", Uuid), Column("service", Text),
    Column("action", Text), Column("resource", Text), Column("outcome", Text), Column("reason", Text),
    Column("request_id", Text), Column("address", Text), Column("hash", LargeBinary),
)  # fmt: skip
audit_heads = Table(
    "audit_heads", metadata,
    Column("organization_id", Uuid), Column("sequence", BigInteger), Column("hash", LargeBinary),
)  # fmt: skip
