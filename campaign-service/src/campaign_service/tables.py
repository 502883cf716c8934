"""The tables of campaign-service."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Date, DateTime, MetaData, Table, Text, Uuid

metadata = MetaData()
_time = DateTime(timezone=True)
_texts = ARRAY(Text)

campaigns = Table(
    "campaigns", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("name", Text), Column("state", Text),
    Column("state_reasons", _texts), Column("budget_micros", BigInteger), Column("daily_budget_micros", BigInteger),
    Column("currency_code", Text), Column("start_time", _time), Column("end_time", _time), Column("target_url", Text),
    Column("countries", _texts), Column("devices", _texts), Column("bid_model", Text),
    Column("price_micros", BigInteger), Column("networks", _texts), Column("version", BigInteger),
    Column("hold_key", Text), Column("hold_returning", Boolean), Column("stopped_at", _time),
    Column("move_key", Text), Column("moving_micros", BigInteger), Column("wanted_budget_micros", BigInteger),
    Column("moves_back", Boolean), Column("is_limited", Boolean), Column("is_suspending", Boolean),
    Column("created_at", _time), Column("updated_at", _time), Column("deleted_at", _time),
)  # fmt: skip
campaign_networks = Table(
    "campaign_networks", metadata,
    Column("organization_id", Uuid), Column("campaign_id", Uuid), Column("network", Text),
    Column("external_name", Text), Column("external_id", Text), Column("state", Text), Column("synced_at", _time),
)  # fmt: skip
network_stats = Table(
    "network_stats", metadata,
    Column("organization_id", Uuid), Column("campaign_id", Uuid), Column("network", Text), Column("day", Date),
    Column("zone_id", Text), Column("impressions", BigInteger), Column("clicks", BigInteger),
    Column("conversions", BigInteger), Column("spend_micros", BigInteger), Column("synced_at", _time),
)  # fmt: skip
spend_postings = Table(
    "spend_postings", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("campaign_id", Uuid), Column("network", Text),
    Column("day", Date), Column("zone_id", Text), Column("amount_micros", BigInteger), Column("currency_code", Text),
    Column("resolved", Boolean), Column("publisher_organization_id", Uuid), Column("publisher_id", Uuid),
    Column("share_basis_points", BigInteger), Column("posted_micros", BigInteger),
    Column("publisher_micros", BigInteger), Column("created_at", _time),
)  # fmt: skip
