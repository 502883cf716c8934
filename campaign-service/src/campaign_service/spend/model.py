"""Amounts that the ledger is asked to post for the spend that networks report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from campaign_service.stats.model import Figures, Slot


@dataclass(frozen=True, slots=True)
class PlacementRef:
    """A campaign at a network."""

    organization_id: UUID
    campaign_id: UUID
    network: str


@dataclass(frozen=True, slots=True)
class Earner:
    """The publisher that earns a share of a posting, as stored with it; 7000 basis points are 70 %."""

    organization_id: UUID
    publisher_id: UUID
    basis_points: int


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount that the ledger is asked to post; its id is the idempotency key.

    Once `is_resolved`, the content of the request to the ledger never changes.
    """

    id: UUID
    organization_id: UUID
    campaign_id: UUID
    network: str
    day: date
    zone_id: str
    amount_micros: int
    currency_code: str
    is_resolved: bool
    earner: Earner | None

    @property
    def zone_uuid(self) -> UUID | None:
        """The zone's id; None where the network's zone id is not in our format."""
        try:
            return UUID(self.zone_id)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Spent:
    """A campaign's spend: posted by the ledger, and requested in total, including postings without an answer."""

    posted_micros: int
    requested_micros: int


def unrequested(
    stored: Mapping[Slot, Figures], requested_micros: Mapping[Slot, int], reported: Mapping[Slot, Figures]
) -> dict[Slot, int]:
    """The spend of each reported slot above the sum of its postings, whether or not they are posted, in micros."""
    amounts: dict[Slot, int] = {}
    for slot, figures in reported.items():
        highest_micros = figures.at_least(stored.get(slot, Figures())).spend_micros
        if (amount_micros := highest_micros - requested_micros.get(slot, 0)) > 0:
            amounts[slot] = amount_micros
    return amounts


def capped_to_budget(amounts_micros: Mapping[Slot, int], remaining_micros: int) -> dict[Slot, int]:
    """The amounts, in order, until the remaining budget is used up."""
    capped: dict[Slot, int] = {}
    for slot, amount_micros in amounts_micros.items():
        if (allowed_micros := min(amount_micros, remaining_micros)) > 0:
            capped[slot] = allowed_micros
            remaining_micros -= allowed_micros
    return capped
