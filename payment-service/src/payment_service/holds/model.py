"""Campaigns' held budgets and their spend."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition
from adlib.money import share, to_decimal
from payment_service.ledger.model import Account, Kind, Transfer, payable


class OrganizationInDebt(FailedPrecondition):
    """The organization owes money and cannot spend until it has paid."""

    reason = ErrorReason.ORGANIZATION_IN_DEBT

    def __init__(self, debt_micros: int, currency_code: str) -> None:
        super().__init__(
            f"{to_decimal(debt_micros):,f} {currency_code} are owed; pay them before you spend",
            debtMicros=debt_micros,
            currencyCode=currency_code,
        )


@dataclass(frozen=True, slots=True)
class Escrow:
    """The account that holds a campaign's budget."""

    organization_id: UUID
    campaign_id: UUID
    currency_code: str

    @property
    def account(self) -> Account:
        """The campaign's own account."""
        return Account(Kind.ESCROW, self.currency_code, self.organization_id, str(self.campaign_id))

    @property
    def wallet(self) -> Account:
        """The organization's available balance: holds come from it and releases return to it."""
        return Account(Kind.AVAILABLE, self.currency_code, self.organization_id)

    def hold(self, amount_micros: int, key: str) -> Transfer:
        """The transfer from the wallet into the escrow."""
        return Transfer(
            "HOLD", self.wallet, self.account, amount_micros, self.campaign_id, f"hold:{self.organization_id}:{key}"
        )

    def release(self, amount_micros: int, key: str) -> Transfer:
        """The transfer from the escrow back into the wallet."""
        return Transfer(
            "RELEASE", self.account, self.wallet, amount_micros, self.campaign_id,
            f"release:{self.organization_id}:{key}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hold:
    """The amount that an escrow holds; `id` is the account's."""

    id: UUID
    escrow: Escrow
    held_micros: int


@dataclass(frozen=True, slots=True)
class Earner:
    """The publisher that earns from the spend, and its revenue share in basis points."""

    organization_id: UUID
    publisher_id: UUID
    share_basis_points: int


@dataclass(frozen=True, slots=True)
class PriorSpend:
    """The first spend item with a key: the amounts requested and posted.

    `content_hash` is None if only the item's transfers are stored; then `shared_micros` and the account `payable_id`
    that received them show which share was requested.
    """

    requested_micros: int
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
        """The key of the transfer out of the escrow."""
        return f"spend:{self._key}"

    @property
    def share_key(self) -> str:
        """The key of the transfer of the publisher's share."""
        return f"publisher_share:{self._key}"

    @property
    def content_hash(self) -> bytes:
        """Equal for items with the same amount, publisher and share."""
        return hashlib.sha256(f"{self.amount_micros}:{self.earner}".encode()).digest()

    @property
    def _key(self) -> str:
        return f"{self.escrow.organization_id}:{self.escrow.campaign_id}:{self.escrow.currency_code}:{self.key}"

    def is_repeat_of(self, first: PriorSpend) -> bool:
        """Whether this repeats the first item with its key, rather than reusing the key for another request."""
        if first.content_hash is not None:
            return first.content_hash == self.content_hash
        shared_micros = share(first.posted_micros, self.earner.share_basis_points) if self.earner else 0
        payable_id = self.accounts[-1].id if shared_micros else None
        return (first.requested_micros, first.payable_id, first.shared_micros) == (
            self.amount_micros, payable_id, shared_micros
        )  # fmt: skip

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Every account that it may affect: escrow, spent, revenue and the publisher's."""
        escrow = self.escrow
        spent = Account(Kind.SPENT, escrow.currency_code, escrow.organization_id)
        revenue = Account(Kind.PLATFORM_REVENUE, escrow.currency_code, None, str(escrow.campaign_id))
        own = (escrow.account, spent, revenue)
        if self.earner is None:
            return own
        return *own, payable(self.earner.organization_id, self.earner.publisher_id, escrow.currency_code)

    def transfers(self, posted_micros: int) -> Iterator[Transfer]:
        """Escrow to spent, then from spent the publisher's share, rounded down, and the rest to the platform."""
        escrow, spent, revenue, *publisher = self.accounts
        campaign_id = self.escrow.campaign_id
        shared = share(posted_micros, self.earner.share_basis_points) if self.earner else 0
        parts = [("SPEND", escrow, spent, posted_micros), ("PLATFORM_SHARE", spent, revenue, posted_micros - shared)]
        parts += [("PUBLISHER_SHARE", spent, payable, shared) for payable in publisher]
        for kind, debit, credit, amount_micros in parts:
            if amount_micros:
                yield Transfer(kind, debit, credit, amount_micros, campaign_id, f"{kind.lower()}:{self._key}")
