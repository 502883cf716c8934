"""Earnings on hold: what publishers have earned from an organization is not paid out while it owes that much."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from adlib.money import to_decimal
from payment_service.ledger.model import Account, Kind, Transfer

K = TypeVar("K")


class EarningsOnHold(FailedPrecondition):
    """A payout is of what was earned from organizations that have come into debt since."""

    reason = ErrorReason.EARNINGS_ON_HOLD

    def __init__(self, on_hold_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(on_hold_micros):f} {currency_code} of it were earned from organizations that owe money",
            onHoldMicros=on_hold_micros,
        )


@dataclass(frozen=True, slots=True)
class Earnings:
    """What a publisher has earned from one organization: what of it is on hold, and what of it is still unpaid.

    `unpaid_micros` has what is on hold in it. Payouts take what was earned first.
    """

    payable: Account
    on_hold_micros: int = 0
    unpaid_micros: int = 0
    available_micros: int = 0

    @property
    def most_micros(self) -> int:
        """What could be put on hold beside what is."""
        return max(0, min(self.unpaid_micros - self.on_hold_micros, self.available_micros))


@dataclass(frozen=True, slots=True)
class Debtor:
    """An organization that owes so much in a currency, with its publishers' earnings."""

    organization_id: UUID
    currency_code: str
    debt_micros: int
    earnings: Mapping[UUID, Earnings] = field(default_factory=dict)

    def on_hold(self, publisher_id: UUID) -> Account:
        """What a publisher has earned from it, and does not get while it owes."""
        return on_hold(self.organization_id, publisher_id, self.currency_code)

    @property
    def changes(self) -> Mapping[UUID, int]:
        """By how much what each publisher has on hold is to grow, or below zero to shrink.

        In total never more than the debt is on hold, and less only where nothing more is unpaid.
        """
        held = {id: one.on_hold_micros for id, one in self.earnings.items()}
        missing_micros = self.debt_micros - sum(held.values())
        if missing_micros < 0:
            return {id: -micros for id, micros in apportioned(-missing_micros, held).items()}
        return apportioned(missing_micros, {id: one.most_micros for id, one in self.earnings.items()})

    def transfer(self, publisher_id: UUID, change_micros: int, key: str) -> Transfer:
        """From what the publisher can take to what is on hold, or back."""
        payable, held = self.earnings[publisher_id].payable, self.on_hold(publisher_id)
        if change_micros < 0:
            return Transfer("EARNINGS_RELEASE", held, payable, -change_micros, self.organization_id, key)
        return Transfer("EARNINGS_HOLD", payable, held, change_micros, self.organization_id, key)


def on_hold(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """What a publisher has earned from an organization in debt."""
    return Account(Kind.PUBLISHER_ON_HOLD, currency_code, organization_id, str(publisher_id))


def spent(organization_id: UUID, currency_code: str) -> Account:
    """Where publishers' shares of an organization's spend come from."""
    return Account(Kind.SPENT, currency_code, organization_id)


def apportioned(amount_micros: int, parts: Mapping[K, int]) -> Mapping[K, int]:
    """The amount, or as much of it as there is, taken from the parts in proportion; those without any are left out."""
    total_micros = sum(parts.values())
    amount_micros = min(amount_micros, total_micros)
    taken: dict[K, int] = {}
    before = running = 0
    for key, part in parts.items():
        running += part
        upto = amount_micros * running // total_micros if total_micros else 0
        if upto > before:
            taken[key] = upto - before
        before = upto
    return taken
