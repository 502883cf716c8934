"""Double-entry bookkeeping: accounts and transfers. A credit increases a balance, a debit decreases it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from adlib.money import to_decimal

_ACCOUNT_NAMESPACE = UUID("5f0e6f3c-9a57-4d0b-8f4e-3f6c1f3f5d21")


class Kind(StrEnum):
    """The purpose of an account. DEBT is never above zero; FEES and PROVIDER_CLEARING may have either sign.

    All other balances are never below zero.
    """

    # An organization's: spendable balance, money held for one campaign, money spent by its campaigns.
    AVAILABLE = "AVAILABLE"
    ESCROW = "ESCROW"
    SPENT = "SPENT"
    # An organization's debt, as a negative balance: money that was reversed after it had been spent.
    DEBT = "DEBT"
    # A publisher's: earned, reserved for payouts, and paid out.
    PUBLISHER_PAYABLE = "PUBLISHER_PAYABLE"
    PUBLISHER_PENDING = "PUBLISHER_PENDING"
    PUBLISHER_PAID = "PUBLISHER_PAID"
    # Publisher earnings from an organization in debt, withheld until the debt is paid.
    PUBLISHER_ON_HOLD = "PUBLISHER_ON_HOLD"
    # The platform's: one account per campaign, so that campaigns do not contend for one row.
    PLATFORM_REVENUE = "PLATFORM_REVENUE"
    # The source of deposits: one account per organization, so that they do not contend for one row. Its negative
    # balance is the amount that the provider holds for the organization or, without one, the unmatched amount.
    PROVIDER_CLEARING = "PROVIDER_CLEARING"
    # The platform's: unmatched money, and (negative) the fees that providers charged.
    SUSPENSE = "SUSPENSE"
    FEES = "FEES"


@dataclass(frozen=True, slots=True)
class Account:
    """An account, identified by its fields; `subject` is a campaign, a publisher or a provider."""

    kind: Kind
    currency_code: str
    organization_id: UUID | None = None
    subject: str = ""

    @property
    def id(self) -> UUID:
        """Derived from the fields, so that no lookup is needed."""
        return uuid5(
            _ACCOUNT_NAMESPACE, f"{self.kind}:{self.organization_id or ''}:{self.subject}:{self.currency_code}"
        )


class Phase(StrEnum):
    """The phase of a transfer: POSTED at once, or PENDING and later COMPLETED or VOIDED."""

    POSTED = "POSTED"
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Moves an amount from one account to another, once per key; `reference` is its payment's or other object's id.

    A PENDING transfer reserves its amount until a COMPLETED one moves all or part of it, a VOIDED one releases it, or
    `expires_at` passes: the two phases of TigerBeetle's transfers.
    """

    kind: str
    debit: Account
    credit: Account
    amount_micros: int
    reference: UUID
    key: str
    phase: Phase = Phase.POSTED
    expires_at: datetime | None = None
    # The key of the PENDING transfer that this one ends.
    pending_key: str = ""

    def pending(self, expires_at: datetime | None = None) -> "Transfer":
        """The same transfer, only reserving its amount; without `expires_at` it does not expire."""
        return replace(self, phase=Phase.PENDING, expires_at=expires_at)

    def completed(self, amount_micros: int | None = None) -> "Transfer":
        """The transfer that moves the reserved amount, or part of it, and releases the rest."""
        moved_micros = self.amount_micros if amount_micros is None else amount_micros
        return replace(self._ended(Phase.COMPLETED), amount_micros=moved_micros)

    def voided(self) -> "Transfer":
        """The transfer that releases the reserved amount."""
        return self._ended(Phase.VOIDED)

    def _ended(self, phase: Phase) -> "Transfer":
        return replace(self, phase=phase, expires_at=None, key=f"{self.key}:ended", pending_key=self.key)


class Outcome(StrEnum):
    """The result of posting a chain of transfers."""

    POSTED = "POSTED"
    # The whole chain had been posted before.
    REPEATED = "REPEATED"
    # One of its keys had been used for a different transfer.
    KEY_REUSED = "KEY_REUSED"
    # An earlier request with its key was posted in part or not at all.
    ANSWERED = "ANSWERED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    # It violates another rule of the ledger.
    REFUSED = "REFUSED"


class InsufficientFunds(FailedPrecondition):
    """The account's available balance is below the amount."""

    reason = ErrorReason.INSUFFICIENT_FUNDS

    def __init__(self, available_micros: int, required_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(available_micros):,f} {currency_code} are available and "
            f"{to_decimal(required_micros):,f} {currency_code} are needed",
            availableMicros=available_micros,
            requiredMicros=required_micros,
        )


@dataclass(frozen=True, slots=True)
class Wallet:
    """An organization's balance and debt in one currency.

    Incoming money pays the debt first; an outgoing amount beyond the balance becomes debt.
    """

    organization_id: UUID
    currency_code: str

    @property
    def available(self) -> Account:
        """The spendable balance."""
        return Account(Kind.AVAILABLE, self.currency_code, self.organization_id)

    @property
    def debt(self) -> Account:
        """The debt, as a negative balance."""
        return Account(Kind.DEBT, self.currency_code, self.organization_id)

    def clearing(self, provider: str) -> Account:
        """The amount that the provider holds for the organization, as a negative balance."""
        return Account(Kind.PROVIDER_CLEARING, self.currency_code, self.organization_id, provider)

    def incoming(self, transfer: Transfer, balances: Mapping[Account, int]) -> list[Transfer]:
        """The transfer into `available` and the debt repayment out of it; `balances`: locked, before the transfer."""
        return [transfer, *self.repayment(transfer.amount_micros, balances, transfer.reference, transfer.key)]

    def repayment(
        self, amount_micros: int, balances: Mapping[Account, int], reference: UUID, cause: str
    ) -> list[Transfer]:
        """The repayment of debt when the amount becomes available by the transfer with the key `cause`."""
        repaid_micros = min(amount_micros, -balances[self.debt])
        if repaid_micros <= 0:
            return []
        return [Transfer("DEBT_REPAYMENT", self.available, self.debt, repaid_micros, reference, f"repay:{cause}")]

    def outgoing(self, transfer: Transfer, balances: Mapping[Account, int]) -> list[Transfer]:
        """The transfer out of `available`, with the part that the balance does not cover booked as debt."""
        covered_micros = max(0, min(transfer.amount_micros, balances[self.available]))
        parts = (
            (self.available, covered_micros, transfer.key),
            (self.debt, transfer.amount_micros - covered_micros, f"{transfer.key}:debt"),
        )
        return [
            Transfer(transfer.kind, account, transfer.credit, amount_micros, transfer.reference, key)
            for account, amount_micros, key in parts
            if amount_micros
        ]


def payable(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """A publisher's earnings that are neither reserved nor paid out."""
    return Account(Kind.PUBLISHER_PAYABLE, currency_code, organization_id, str(publisher_id))


def pending(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """A publisher's earnings that are reserved for payouts."""
    return Account(Kind.PUBLISHER_PENDING, currency_code, organization_id, str(publisher_id))


def paid(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """A publisher's earnings that have been paid out."""
    return Account(Kind.PUBLISHER_PAID, currency_code, organization_id, str(publisher_id))


def deposit(payment_id: UUID, organization_id: UUID, provider: str, amount_micros: int, currency_code: str) -> Transfer:
    """A deposit from the provider into the wallet, once per payment."""
    clearing = Account(Kind.PROVIDER_CLEARING, currency_code, organization_id, provider)
    wallet = Account(Kind.AVAILABLE, currency_code, organization_id)
    return Transfer("DEPOSIT", clearing, wallet, amount_micros, payment_id, f"deposit:{payment_id}")
