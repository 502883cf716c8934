"""Publishers' earnings."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Earning:
    """A publisher's share of the spend in one of its zones, on the network's day (UTC)."""

    event_id: UUID
    organization_id: UUID
    publisher_id: UUID
    zone_id: UUID
    day: date
    currency_code: str
    amount_micros: int

    @property
    def content(self) -> str:
        """The content of the event, to distinguish a repeat from another event with the same id."""
        return f"{self.publisher_id} {self.zone_id} {self.day} {self.amount_micros} {self.currency_code}"
