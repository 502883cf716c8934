"""auth-service's tables, for the stores."""

from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, Uuid

metadata = MetaData()
_time = DateTime(timezone=True)

users = Table(
    "users", metadata,
    Column("id", Uuid), Column("email", Text), Column("name", Text),
    Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
credentials = Table(
    "credentials", metadata, Column("user_id", Uuid), Column("password_hash", Text), Column("updated_at", _time)
)  # fmt: skip
organizations = Table(
    "organizations", metadata,
    Column("id", Uuid), Column("name", Text), Column("kind", Text), Column("owner_id", Uuid),
    Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
roles = Table("roles", metadata, Column("code", Text), Column("name", Text), Column("description", Text))
permissions = Table("permissions", metadata, Column("code", Integer), Column("name", Text))
role_permissions = Table(
    "role_permissions", metadata, Column("role_code", Text), Column("permission_code", Integer)
)  # fmt: skip
user_roles = Table(
    "user_roles", metadata,
    Column("user_id", Uuid), Column("organization_id", Uuid), Column("role_code", Text), Column("created_at", _time),
)  # fmt: skip
sessions = Table(
    "sessions", metadata,
    Column("id", Uuid), Column("user_id", Uuid), Column("created_at", _time), Column("ended_at", _time),
)  # fmt: skip
