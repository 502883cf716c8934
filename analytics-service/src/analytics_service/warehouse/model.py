"""The warehouse interface. Times are microseconds since the epoch; money is micros of a currency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from analytics_service.tables import Record, Table


@dataclass(frozen=True, slots=True)
class Metrics:
    """Totals of a time interval. Each metric is computed as a result column of the same name."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    unique_users: int = 0
    spend_micros: int = 0
    revenue_micros: int = 0


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """A query for one organization's metrics, in the intervals between consecutive boundaries."""

    organization_id: str
    filters: Mapping[str, str]
    """The value that each named dimension must have."""
    currency_code: str
    """The currency whose spend and revenue are added up."""
    boundaries_micros: Sequence[int]


@dataclass(frozen=True, slots=True)
class MetricsResult:
    """Metrics over the whole time, and of each interval that has any, by the interval's start."""

    total: Metrics
    by_interval: Mapping[int, Metrics]


class Warehouse(Protocol):
    """Stores rows permanently and aggregates them. Every method raises UNAVAILABLE while it cannot answer."""

    def insert(self, table: Table[Record], records: Sequence[Record]) -> int:
        """Inserts records that are not stored yet, all or none, and returns how many. They are durable on return."""
        ...

    def metrics(self, query: MetricsQuery) -> MetricsResult:
        """Reads one snapshot. A visitor of two intervals counts once in the total."""
        ...
