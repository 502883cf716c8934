"""What publishers earn."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Earning:
    """A publisher's part of spend in one of its zones, on the day that the network counts it to (UTC)."""

    event_id: UUID
    organization_id: UUID
    publisher_id: UUID
    zone_id: UUID
    day: date
    currency_code: str
    amount_micros: int
