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

    @property
    def content(self) -> str:
        """What the event says, for telling a repeat from another event with its id."""
        return f"{self.publisher_id} {self.zone_id} {self.day} {self.amount_micros} {self.currency_code}"
