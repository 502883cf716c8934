"""Double entry: accounts, and transfers between them. A credit adds to a balance, a debit takes from it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from adlib.money import share, to_decimal

_IDS = UUID("5f0e6f3c-9a57-4d0b-8f4e-3f6c1f3f5d21")


class Kind(StrEnum):
    """What an account is for. All but DEBT, FEES and PROVIDER_CLEARING stay at zero or above; DEBT at or below."""

    # An organization's wallet, what it holds for a campaign, and what passed through on its way from there.
    AVAILABLE = "AVAILABLE"
    ESCROW = "ESCROW"
    SPENT = "SPENT"
    # What an organization owes, below zero: money that went back after it had been spent.
    DEBT = "DEBT"
    # A publisher's: earned, set aside for payouts, and gone to its bank.
    PUBLISHER_PAYABLE = "PUBLISHER_PAYABLE"
    PUBLISHER_PENDING = "PUBLISHER_PENDING"
    PUBLISHER_PAID = "PUBLISHER_PAID"
    # An organization's in debt: what a publisher has earned from it and does not get while it owes.
    PUBLISHER_ON_HOLD = "PUBLISHER_ON_HOLD"
    # The platform's: one for a campaign, so that campaigns do not wait for one another.
    PLATFORM_REVENUE = "PLATFORM_REVENUE"
    # Where money came in from, one for an organization, so that they do not wait for one another; below zero by what
    # the provider has for it. The platform's own: what the provider has for nobody that is known.
    PROVIDER_CLEARING = "PROVIDER_CLEARING"
    # The platform's: what arrived for nobody that is known, and, below zero, what providers took for their work.
    SUSPENSE = "SUSPENSE"
    FEES = "FEES"


@dataclass(frozen=True, slots=True)
class Account:
    """An account by what it is; `subject` is a campaign, a publisher or a provider."""

    kind: Kind
    currency_code: str
    organization_id: UUID | None = None
    subject: str = ""

    @property
    def id(self) -> UUID:
        """The same for the same account, wherever it is asked."""
        return uuid5(_IDS, f"{self.kind}:{self.organization_id or ''}:{self.subject}:{self.currency_code}")


class Phase(StrEnum):
    """Whether a transfer moves its amount, or only sets it aside, or ends what another has set aside."""

    POSTED = "POSTED"
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Transfer:
    """An amount that goes from one account to another, once for its key; `reference` is what it was for.

    A PENDING one keeps its amount from being taken by anybody else, until a COMPLETED one moves it, or a part of it, or
    a VOIDED one lets it go, or `expires_at` has passed: the two phases of TigerBeetle's transfers.
    """

    kind: str
    debit: Account
    credit: Account
    amount_micros: int
    reference: UUID
    key: str
    phase: Phase = Phase.POSTED
    expires_at: datetime | None = None
    # The key of the PENDING one that this one ends.
    pending_key: str = ""

    def pending(self, expires_at: datetime | None = None) -> "Transfer":
        """The same, set aside only; for ever without a time."""
        return replace(self, phase=Phase.PENDING, expires_at=expires_at)

    def completed(self, amount_micros: int | None = None) -> "Transfer":
        """Moves what this one has set aside, or the part of it; the rest is free again."""
        moved_micros = self.amount_micros if amount_micros is None else amount_micros
        return replace(self._end(Phase.COMPLETED), amount_micros=moved_micros)

    def voided(self) -> "Transfer":
        """Frees what this one has set aside."""
        return self._end(Phase.VOIDED)

    def _end(self, phase: Phase) -> "Transfer":
        return replace(self, phase=phase, expires_at=None, key=f"{self.key}:ended", pending_key=self.key)


class Outcome(StrEnum):
    """What became of a chain of transfers."""

    POSTED = "POSTED"
    # All of it had been posted before.
    REPEATED = "REPEATED"
    # One of its keys had been used for something else.
    KEY_REUSED = "KEY_REUSED"
    # It was answered with less than it asks for, or nothing, before.
    ANSWERED = "ANSWERED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    # Any other rule of the ledger's.
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Balance:
    """An organization's money in one currency."""

    currency_code: str
    available_micros: int
    held_micros: int
    spent_micros: int
    reserved_micros: int = 0
    debt_micros: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer as an organization's statement shows it: by how much it changed each figure of the balance.

    The order of lines is that of their ids, and the time is the id's. `reference` is the id of what it is about, a
    payment or a campaign; None where it is about neither.
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
    """A publisher's money in one currency."""

    publisher_id: UUID
    currency_code: str
    pending_micros: int
    available_micros: int
    paid_micros: int
    on_hold_micros: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """What one currency's books add up to; all but the counts of accounts and transfers are 0 in sound ones."""

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
    def are_sound(self) -> bool:
        """Whether nothing differs."""
        return not (self.sum_micros or self.difference_micros or self.overdrawn or self.payments_differing)


class InsufficientFunds(FailedPrecondition):
    """The account has less than is needed."""

    reason = ErrorReason.INSUFFICIENT_FUNDS

    def __init__(self, available_micros: int, required_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(available_micros):,f} {currency_code} are available and "
            f"{to_decimal(required_micros):,f} {currency_code} are needed",
            availableMicros=available_micros,
            requiredMicros=required_micros,
        )


class OrganizationInDebt(FailedPrecondition):
    """The organization owes money, and spends nothing until that is paid."""

    reason = ErrorReason.ORGANIZATION_IN_DEBT

    def __init__(self, debt_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(debt_micros):,f} {currency_code} are owed; pay them before you spend",
            debtMicros=debt_micros,
            currencyCode=currency_code,
        )


@dataclass(frozen=True, slots=True)
class Escrow:
    """What an organization has set aside for a campaign."""

    organization_id: UUID
    campaign_id: UUID
    currency_code: str

    @property
    def account(self) -> Account:
        """The campaign's own account."""
        return Account(Kind.ESCROW, self.currency_code, self.organization_id, str(self.campaign_id))

    @property
    def wallet(self) -> Account:
        """Where it comes from, and what is left of it goes."""
        return Account(Kind.AVAILABLE, self.currency_code, self.organization_id)

    def hold(self, amount_micros: int, key: str) -> Transfer:
        """From the wallet into the escrow."""
        return Transfer(
            "HOLD", self.wallet, self.account, amount_micros, self.campaign_id, f"hold:{self.organization_id}:{key}"
        )

    def release(self, amount_micros: int, key: str) -> Transfer:
        """From the escrow back into the wallet."""
        return Transfer(
            "RELEASE", self.account, self.wallet, amount_micros, self.campaign_id,
            f"release:{self.organization_id}:{key}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hold:
    """What an escrow holds; `id` is its account's."""

    id: UUID
    escrow: Escrow
    held_micros: int


@dataclass(frozen=True, slots=True)
class Earner:
    """The publisher in whose zone it was spent, and its part in hundredths of a percent."""

    organization_id: UUID
    publisher_id: UUID
    share_basis_points: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What the first item with a key asked for, and what was posted for it.

    `content_hash` is the first item's; None where a transfer is all that is kept of it: then `shared_micros`, and the
    account `payable_id` that got them, show whose share was asked for.
    """

    asked_micros: int
    posted_micros: int
    content_hash: bytes | None
    payable_id: UUID | None = None
    shared_micros: int = 0


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount that a campaign has spent."""

    escrow: Escrow
    amount_micros: int
    key: str
    earner: Earner | None

    @property
    def transfer_key(self) -> str:
        """The key of the transfer that takes it from the escrow."""
        return f"spend:{self._key}"

    @property
    def _key(self) -> str:
        return f"{self.escrow.organization_id}:{self.escrow.campaign_id}:{self.escrow.currency_code}:{self.key}"

    @property
    def share_key(self) -> str:
        """The key of the transfer that gives the publisher its share."""
        return f"publisher_share:{self._key}"

    @property
    def content_hash(self) -> bytes:
        """The same for items that ask for the same: amount, publisher and share."""
        return hashlib.sha256(f"{self.amount_micros}:{self.earner}".encode()).digest()

    def asks_the_same(self, first: Answered) -> bool:
        """Whether this is a repeat of what was answered before, rather than another request with its key."""
        if first.content_hash is not None:
            return first.content_hash == self.content_hash
        shared_micros = share(first.posted_micros, self.earner.share_basis_points) if self.earner else 0
        payable_id = self.accounts[-1].id if shared_micros else None
        return (first.asked_micros, first.payable_id, first.shared_micros) == (
            self.amount_micros, payable_id, shared_micros
        )  # fmt: skip

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Every account that it may touch: escrow, spent, revenue and the publisher's."""
        escrow = self.escrow
        spent = Account(Kind.SPENT, escrow.currency_code, escrow.organization_id)
        revenue = Account(Kind.PLATFORM_REVENUE, escrow.currency_code, None, str(escrow.campaign_id))
        own = (escrow.account, spent, revenue)
        if self.earner is None:
            return own
        return *own, payable(self.earner.organization_id, self.earner.publisher_id, escrow.currency_code)

    def transfers(self, posted_micros: int) -> Iterator[Transfer]:
        """Escrow to spent, and from there the publisher's share, rounded down, and the rest to the platform."""
        escrow, spent, revenue, *publisher = self.accounts
        campaign_id = self.escrow.campaign_id
        shared = share(posted_micros, self.earner.share_basis_points) if self.earner else 0
        parts = [("SPEND", escrow, spent, posted_micros), ("PLATFORM_SHARE", spent, revenue, posted_micros - shared)]
        parts += [("PUBLISHER_SHARE", spent, payable, shared) for payable in publisher]
        for kind, debit, credit, amount_micros in parts:
            if amount_micros:
                yield Transfer(kind, debit, credit, amount_micros, campaign_id, f"{kind.lower()}:{self._key}")


def payable(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """What a publisher has earned and not been paid."""
    return Account(Kind.PUBLISHER_PAYABLE, currency_code, organization_id, str(publisher_id))


def pending(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """What is set aside for a publisher's payouts."""
    return Account(Kind.PUBLISHER_PENDING, currency_code, organization_id, str(publisher_id))


def paid(organization_id: UUID, publisher_id: UUID, currency_code: str) -> Account:
    """What has gone to a publisher's bank."""
    return Account(Kind.PUBLISHER_PAID, currency_code, organization_id, str(publisher_id))


def deposit(payment_id: UUID, organization_id: UUID, provider: str, amount_micros: int, currency_code: str) -> Transfer:
    """From the provider into the wallet, once for a payment."""
    clearing = Account(Kind.PROVIDER_CLEARING, currency_code, organization_id, provider)
    wallet = Account(Kind.AVAILABLE, currency_code, organization_id)
    return Transfer("DEPOSIT", clearing, wallet, amount_micros, payment_id, f"deposit:{payment_id}")
