"""The warehouse's tables. DDL, inserts, row mapping and report filters are derived from these declarations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from operator import attrgetter
from typing import Generic, TypeVar

from adplatform.campaign.v1.campaign_pb2 import Network
from adplatform.events.v1.events_pb2 import Event, TrackingEvent

from analytics_service.epoch import epoch_micros

Record = TypeVar("Record")
"""The protobuf message that becomes one row."""


class ColumnType(Enum):
    """A column's type; the value is its name in BigQuery's dialect."""

    STRING = "STRING"
    INT64 = "INT64"


@dataclass(frozen=True, slots=True)
class Column(Generic[Record]):
    """A column that is never NULL: an absent text is empty."""

    name: str
    type: ColumnType
    value_of: Callable[[Record], str | int]


@dataclass(frozen=True, slots=True)
class Table(Generic[Record]):
    """An append-only table. Its first column is `event_id`, a UUIDv7 that no two rows share."""

    name: str
    columns: Sequence[Column[Record]]

    def event_id(self, record: Record) -> str:
        """The id that makes inserts of the same record idempotent."""
        return str(self.columns[0].value_of(record))


def _text(name: str, path: str = "") -> Column[Record]:
    """A text column read from the message field at `path`, which is named like the column unless given."""
    return Column(name, ColumnType.STRING, attrgetter(path or name))


def _integer(name: str, path: str = "") -> Column[Record]:
    return Column(name, ColumnType.INT64, attrgetter(path or name))


def _event_type(event: TrackingEvent) -> str:
    return TrackingEvent.Type.Name(event.type)


def _event_time_micros(event: TrackingEvent) -> int:
    return event.time.ToMicroseconds()


def _spend_network(event: Event) -> str:
    return Network.Name(event.spend_posted.network)


def spend_time_micros(event: Event) -> int:
    """When the spend was posted, moved into the day (UTC) that the network reports it for."""
    day_start = epoch_micros(datetime.combine(date.fromisoformat(event.spend_posted.day), time(), UTC))
    day_end = day_start + timedelta(days=1) // timedelta(microseconds=1)
    return max(day_start, min(event.time.ToMicroseconds(), day_end - 1))


EVENTS: Table[TrackingEvent] = Table(
    "events",
    (
        _text("event_id", "id"),
        Column("type", ColumnType.STRING, _event_type),
        Column("time_micros", ColumnType.INT64, _event_time_micros),
        _text("organization_id"),
        _text("campaign_id"),
        _text("pixel_id"),
        _text("zone_id"),
        _text("click_id"),
        _text("goal"),
        _text("transaction_id"),
        _integer("value_micros"),
        _text("currency_code"),
        _text("visitor_id"),
        _text("user_agent"),
        _text("referrer"),
    ),
)
"""Impressions, clicks and conversions."""

SPEND: Table[Event] = Table(
    "spend",
    (
        _text("event_id", "id"),
        Column("time_micros", ColumnType.INT64, spend_time_micros),
        _text("organization_id"),
        _text("campaign_id", "spend_posted.campaign_id"),
        Column("network", ColumnType.STRING, _spend_network),
        _text("zone_id", "spend_posted.publisher.zone_id"),
        _integer("amount_micros", "spend_posted.amount_micros"),
        _text("currency_code", "spend_posted.currency_code"),
    ),
)
"""Amounts that the ledger charged to campaigns."""

DIMENSIONS = ("campaign_id",)
"""Columns of both tables that a report can be filtered by; each is also a field of the report's request."""
