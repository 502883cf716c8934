"""The tables of publisher-service."""

from sqlalchemy import BigInteger, Column, Date, DateTime, MetaData, Table, Text, Uuid

metadata = MetaData()
_time = DateTime(timezone=True)

publishers = Table(
    "publishers", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("name", Text), Column("email", Text),
    Column("state", Text), Column("share_basis_points", BigInteger),
    Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
sites = Table(
    "sites", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("publisher_id", Uuid),
    Column("name", Text), Column("url", Text), Column("created_at", _time),
)  # fmt: skip
zones = Table(
    "zones", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("publisher_id", Uuid), Column("site_id", Uuid),
    Column("name", Text), Column("width", BigInteger), Column("height", BigInteger), Column("created_at", _time),
)  # fmt: skip
payout_requests = Table(
    "payout_requests", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("publisher_id", Uuid), Column("state", Text),
    Column("amount_micros", BigInteger), Column("currency_code", Text),
    Column("account_holder_name", Text), Column("iban", Text),
    Column("routing_number", Text), Column("account_number", Text),
    Column("requested_by", Uuid), Column("decided_by", Uuid), Column("reason", Text), Column("idempotency_key", Text),
    Column("created_at", _time), Column("updated_at", _time),
    Column("retry_at", _time), Column("failed_tries", BigInteger),
)  # fmt: skip
earnings = Table(
    "earnings", metadata,
    Column("organization_id", Uuid), Column("publisher_id", Uuid), Column("zone_id", Uuid), Column("day", Date),
    Column("currency_code", Text), Column("amount_micros", BigInteger), Column("updated_at", _time),
)  # fmt: skip
