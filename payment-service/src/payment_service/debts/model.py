"""Earnings on hold: publishers' earnings from an organization in debt are withheld up to the amount of the debt."""

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
    """The payout includes earnings from organizations that are in debt."""

    reason = ErrorReason.EARNINGS_ON_HOLD

    def __init__(self, on_hold_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(on_hold_micros):f} {currency_code} of it were earned from organizations that owe money",
            onHoldMicros=on_hold_micros,
        )


@dataclass(frozen=True, slots=True)
class Earnings:
    """A publisher's earnings from one organization; `unpaid_micros` includes `on_hold_micros`.

    Payouts take the oldest earnings first.
    """

    payable: Account
    on_hold_micros: int = 0
    unpaid_micros: int = 0
    available_micros: int = 0

    @property
    def holdable_micros(self) -> int:
        """The amount that can be put on hold in addition to `on_hold_micros`."""
        return max(0, min(self.unpaid_micros - self.on_hold_micros, self.available_micros))


@dataclass(frozen=True, slots=True)
class Debtor:
    """An organization's debt in a currency, and publishers' earnings from the organization."""

    organization_id: UUID
    currency_code: str
    debt_micros: int
    earnings: Mapping[UUID, Earnings] = field(default_factory=dict)

    def on_hold(self, publisher_id: UUID) -> Account:
        """The account of the publisher's withheld earnings from the organization."""
        return on_hold(self.organization_id, publisher_id, self.currency_code)

    @property
    def changes(self) -> Mapping[UUID, int]:
        """By publisher, the amount to put on hold or, if negative, to release.

        Afterwards the total on hold equals the debt, or all unpaid earnings if these are less.
        """
        held = {id: one.on_hold_micros for id, one in self.earnings.items()}
        missing_micros = self.debt_micros - sum(held.values())
        if missing_micros < 0:
            return {id: -micros for id, micros in apportioned(-missing_micros, held).items()}
        return apportioned(missing_micros, {id: one.holdable_micros for id, one in self.earnings.items()})

    def transfer(self, publisher_id: UUID, change_micros: int, key: str) -> Transfer:
        """The transfer from the publisher's payable earnings to those on hold, or back."""
        payable, held = self.earnings[publisher_id].payable, self.on_hold(publisher_id)
        if change_micros < 0:
            return Transfer("EARNINGS_RELEASE", held, payable, -change_micros, self.organization_id, key)
        return Transfer("EARNINGS_HOLD", payable, held, change_micros, self.organization_id, key)


def on_hold(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """The account of a publisher's withheld earnings from an organization."""
    return Account(Kind.PUBLISHER_ON_HOLD, currency_code, organization_id, str(publisher_id))


def spent(organization_id: UUID, currency_code: str) -> Account:
    """The account that publishers' shares of the organization's spend are paid from."""
    return Account(Kind.SPENT, currency_code, organization_id)


def apportioned(amount_micros: int, parts: Mapping[K, int]) -> Mapping[K, int]:
    """Divides the amount, capped to the total, among the parts in proportion; omits parts whose share is 0."""
    total_micros = sum(parts.values())
    amount_micros = min(amount_micros, total_micros)
    shares: dict[K, int] = {}
    before = running = 0
    for key, part in parts.items():
        running += part
        upto = amount_micros * running // total_micros if total_micros else 0
        if upto > before:
            shares[key] = upto - before
        before = upto
    return shares
