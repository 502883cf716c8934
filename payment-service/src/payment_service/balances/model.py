"""Balances, statement lines, and the result of verifying the ledger."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from payment_service.ledger.model import Phase


@dataclass(frozen=True, slots=True)
class Balance:
    """An organization's balance in one currency."""

    currency_code: str
    available_micros: int
    held_micros: int
    spent_micros: int
    reserved_micros: int = 0
    debt_micros: int = 0


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A transfer on an organization's statement: by how much it changed each figure of the balance.

    Lines are ordered by id, and the time is the id's. `reference` is the id of the payment or campaign that the line is
    about; None if it is about neither.
    """

    id: UUID
    time: datetime
    kind: str
    phase: Phase
    reference: UUID | None
    is_about_campaign: bool
    available_delta_micros: int
    held_delta_micros: int
    spent_delta_micros: int
    reserved_delta_micros: int
    debt_delta_micros: int


@dataclass(frozen=True, slots=True)
class PublisherBalance:
    """A publisher's balance in one currency."""

    publisher_id: UUID
    currency_code: str
    pending_micros: int
    available_micros: int
    paid_micros: int
    on_hold_micros: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks of one currency's ledger; if it is correct, all but `accounts` and `transfers` are 0."""

    currency_code: str
    sum_micros: int
    difference_micros: int
    overdrawn: int
    payments_differing: int
    accounts: int
    transfers: int
    # The first 20 of the payments that differ.
    differing_payment_ids: tuple[UUID, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether no check found a difference."""
        return not (self.sum_micros or self.difference_micros or self.overdrawn or self.payments_differing)
