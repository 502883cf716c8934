"""An amount of money that has arrived, or is about to, and how it moves into the wallet and out again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, NotFound
from adlib.money import to_decimal
from payment_service.ledger.model import Account, Kind, Transfer
from payment_service.ledger.wallet import Wallet
from payment_service.payments.model import IncomingFunds, Payment, Recall


class State(StrEnum):
    """Where a deposit is in its life."""

    SEEN = "SEEN"
    CREDITED = "CREDITED"
    REVERSED = "REVERSED"
    UNMATCHED = "UNMATCHED"


class DepositNotFound(NotFound):
    """No such deposit."""

    reason = ErrorReason.DEPOSIT_NOT_FOUND

    def __init__(self, deposit_id: UUID) -> None:
        super().__init__("there is no such deposit", depositId=deposit_id)


class DepositNotAssignable(FailedPrecondition):
    """It could not be refunded through that payment."""

    reason = ErrorReason.DEPOSIT_NOT_ASSIGNABLE

    def __init__(self, deposit: "Deposit", payment: Payment, why: str) -> None:
        super().__init__(
            f"the deposit cannot be assigned to this payment: {why}; assign it to one by {deposit.provider} in "
            f"{deposit.currency_code}",
            depositId=deposit.id,
            provider=deposit.provider,
            paymentProvider=payment.provider,
        )


class DepositAssigned(FailedPrecondition):
    """It is another payment's, or no longer there."""

    reason = ErrorReason.DEPOSIT_ASSIGNED

    def __init__(self, deposit_id: UUID) -> None:
        super().__init__("the deposit is not unmatched any more; read the list again", depositId=deposit_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """What has arrived, as its provider says; `rate` is units of the currency for one unit of the asset.

    It is final once nothing outside can take it back: a chain for 2,000 blocks; a bank and a card network for as long
    as they like, since every line of the bank's statement and every event of the card provider is read. A bank may take
    back a part: `recalled_micros` of it have gone by now.
    """

    id: UUID
    provider: str
    external_key: str
    payment_id: UUID | None
    organization_id: UUID | None
    state: State
    amount_micros: int
    currency_code: str
    asset: str
    asset_amount: int | None
    rate: Decimal | None
    detail: Mapping[str, Any]
    reversals: int
    created_at: datetime
    updated_at: datetime
    # Whose payment it was sent for, where it is unmatched because its currency is another.
    sent_for_payment_id: UUID | None = None
    sent_for_organization_id: UUID | None = None
    recalled_micros: int = 0

    @property
    def left_micros(self) -> int:
        """What of it has not been taken back by its sender's bank."""
        return self.amount_micros - self.recalled_micros

    def seen(self, detail: Mapping[str, Any], at: datetime) -> Self:
        """As it is shown now."""
        after = replace(self, state=State.SEEN, detail=detail)
        return self if after == self else replace(after, updated_at=at)

    @property
    def may_come_again(self) -> bool:
        """Whether it was taken back by a chain, which can come back to a block that it has forgotten.

        What a bank took back does not come again under its key: news that say so are older than that.
        """
        return self.state is State.REVERSED and bool(self.asset)

    @property
    def held_reason(self) -> str:
        """What the customer is shown who sent it in another currency than the payment's."""
        amount = f"{to_decimal(self.amount_micros):,f} {self.currency_code}"
        what = f"{self.asset} worth {amount}" if self.asset else amount
        return f"{what} arrived, which is not the payment's currency: staff have it and assign it"

    def unmatched(self, at: datetime) -> Self:
        """Nobody's, also where it was somebody's before it was taken back."""
        return replace(self, state=State.UNMATCHED, payment_id=None, organization_id=None, updated_at=at)

    def credited_to(self, payment: Payment, at: datetime) -> Self:
        """In the payment's wallet."""
        return replace(
            self, state=State.CREDITED, payment_id=payment.id, organization_id=payment.organization_id, updated_at=at
        )

    def reversed(self, at: datetime) -> Self:
        """Taken back, or forgotten before it was credited."""
        return replace(self, state=State.REVERSED, reversals=self.reversals + 1, updated_at=at)

    def recalled(self, amount_micros: int, at: datetime) -> Self:
        """With so much of it taken back by its sender's bank; REVERSED once that is all of it."""
        after = replace(self, recalled_micros=self.recalled_micros + amount_micros, updated_at=at)
        return after if after.left_micros else after.reversed(at)

    def credit(self, wallet: Wallet, payment: Payment) -> Transfer:
        """From the provider, or from the suspense account where it was unmatched, into the payment's wallet."""
        source = self.suspense if self.state is State.UNMATCHED else wallet.clearing(self.provider)
        return replace(self._transfer("DEPOSIT", source, wallet.available), reference=payment.id)

    def take_back(self, wallet: Wallet, recall: Recall | None = None) -> Transfer:
        """From the wallet to the provider: what is left of it, or as much as the recall says."""
        return self._back(self._transfer("REVERSAL", wallet.available, wallet.clearing(self.provider)), recall)

    def suspended(self) -> Transfer:
        """From the provider into the suspense account."""
        return self._transfer("SUSPENSE", self._nobodys(Kind.PROVIDER_CLEARING), self.suspense)

    def unsuspended(self, recall: Recall | None = None) -> Transfer:
        """From the suspense account to the provider: it was taken back before anybody had it."""
        return self._back(self._transfer("REVERSAL", self.suspense, self._nobodys(Kind.PROVIDER_CLEARING)), recall)

    def beyond(self, recall: Recall, back: Transfer) -> Sequence[Transfer]:
        """What a bank took beyond what was left: its fee, which the platform bears. `back` is what it took of it."""
        fee_micros = recall.amount_micros - back.amount_micros
        if fee_micros <= 0:
            return ()
        fees = self._nobodys(Kind.FEES)
        return (Transfer("FEE", fees, back.credit, fee_micros, back.reference, f"fee:{self.id}:{recall.key}"),)

    def _back(self, whole: Transfer, recall: Recall | None) -> Transfer:
        if recall is None:
            return whole
        amount_micros = min(recall.amount_micros, self.left_micros)
        return replace(whole, amount_micros=amount_micros, key=f"reversal:{self.id}:{recall.key}")

    @property
    def suspense(self) -> Account:
        """Where what belongs to nobody that is known is kept."""
        return self._nobodys(Kind.SUSPENSE)

    def _nobodys(self, kind: Kind) -> Account:
        return Account(kind, self.currency_code, None, self.provider)

    def _transfer(self, kind: str, debit: Account, credit: Account) -> Transfer:
        # Once for each time that it came.
        key = f"{kind.lower()}:{self.id}" + (f":{self.reversals}" if self.reversals else "")
        return Transfer(kind, debit, credit, self.left_micros, self.payment_id or self.id, key)


def arrived(
    id: UUID,
    provider: str,
    arrival: IncomingFunds,
    payment: Payment | None,
    at: datetime,
    sent_for: Payment | None = None,
) -> Deposit:
    """The arrival as a deposit: seen where it is the payment's, and unmatched where it is nobody's.

    Where it is all of the payment it has the payment's id, and so its transfer's key: a release that knows no deposits
    and is still running credits under that key, and the two cannot both.
    """
    is_whole = payment is not None and arrival.key == payment.external_id
    return Deposit(
        id=payment.id if payment and is_whole else id,
        provider=provider,
        external_key=arrival.key,
        payment_id=payment.id if payment else None,
        organization_id=payment.organization_id if payment else None,
        state=State.SEEN if payment else State.UNMATCHED,
        amount_micros=arrival.amount_micros,
        currency_code=arrival.currency_code,
        asset=arrival.asset,
        asset_amount=arrival.asset_amount,
        rate=arrival.rate,
        detail=arrival.detail,
        reversals=0,
        created_at=at,
        updated_at=at,
        sent_for_payment_id=sent_for.id if sent_for else None,
        sent_for_organization_id=sent_for.organization_id if sent_for else None,
    )
