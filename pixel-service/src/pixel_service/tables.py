"""The tables of pixel-service."""

from sqlalchemy import ARRAY, BigInteger, Column, Date, DateTime, MetaData, Table, Text, Uuid

metadata = MetaData()
_time = DateTime(timezone=True)

pixels = Table(
    "pixels", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("campaign_id", Uuid), Column("name", Text),
    Column("goals", ARRAY(Text)), Column("target_url", Text), Column("currency_code", Text),
    Column("campaign_updated_at", _time), Column("created_at", _time), Column("deleted_at", _time),
)  # fmt: skip
conversions = Table(
    "conversions", metadata,
    Column("event_id", Uuid), Column("organization_id", Uuid), Column("pixel_id", Uuid), Column("click_id", Uuid),
    Column("goal", Text), Column("transaction_id", Text), Column("value_micros", BigInteger),
    Column("currency_code", Text), Column("created_at", _time),
)  # fmt: skip
rejections = Table(
    "rejections", metadata, Column("day", Date), Column("reason", Text), Column("count", BigInteger)
)  # fmt: skip
