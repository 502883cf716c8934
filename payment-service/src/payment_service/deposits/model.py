"""A deposit's life cycle, and the transfers that credit and reverse it."""

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
from payment_service.ledger.model import Account, Kind, Transfer, Wallet
from payment_service.payments.model import IncomingFunds, Payment, Recall


class State(StrEnum):
    """The state of a deposit."""

    SEEN = "SEEN"
    CREDITED = "CREDITED"
    REVERSED = "REVERSED"
    UNMATCHED = "UNMATCHED"


class DepositNotFound(NotFound):
    """There is no such deposit."""

    reason = ErrorReason.DEPOSIT_NOT_FOUND

    def __init__(self, deposit_id: UUID) -> None:
        super().__init__("there is no such deposit", depositId=deposit_id)


class DepositNotAssignable(FailedPrecondition):
    """The deposit could not be refunded through the payment."""

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
    """The deposit is assigned to another payment, or reversed."""

    reason = ErrorReason.DEPOSIT_ASSIGNED

    def __init__(self, deposit_id: UUID) -> None:
        super().__init__("the deposit is not unmatched any more; read the list again", depositId=deposit_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Funds received, as the provider reports them; `rate` is units of the currency per unit of the asset.

    It can be reversed: by a chain within 2,000 blocks; by a bank or card network at any time, so every statement line
    and every event is read. A bank may recall only a part: `recalled_micros` in total so far.
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
    # The payment it was sent for, if it is unmatched because its currency differs from the payment's.
    sent_for_payment_id: UUID | None = None
    sent_for_organization_id: UUID | None = None
    recalled_micros: int = 0

    @property
    def remaining_micros(self) -> int:
        """The amount that the sender's bank has not recalled."""
        return self.amount_micros - self.recalled_micros

    def seen(self, detail: Mapping[str, Any], at: datetime) -> Self:
        """SEEN, with the `detail` shown to customers."""
        after = replace(self, state=State.SEEN, detail=detail)
        return self if after == self else replace(after, updated_at=at)

    @property
    def can_reappear(self) -> bool:
        """Whether it was reversed by a chain, which may restore a block that it had dropped.

        A bank does not reuse the key of a reversed deposit: a report with that key is outdated.
        """
        return self.state is State.REVERSED and bool(self.asset)

    @property
    def unmatched_reason(self) -> str:
        """The payment's pending reason while this deposit in another currency waits for staff."""
        amount = f"{to_decimal(self.amount_micros):,f} {self.currency_code}"
        what = f"{self.asset} worth {amount}" if self.asset else amount
        return f"{what} arrived, which is not the payment's currency: staff have it and assign it"

    def unmatched(self, at: datetime) -> Self:
        """UNMATCHED, without a payment; also after a reversal from one."""
        return replace(self, state=State.UNMATCHED, payment_id=None, organization_id=None, updated_at=at)

    def credited_to(self, payment: Payment, at: datetime) -> Self:
        """CREDITED to the payment."""
        return replace(
            self, state=State.CREDITED, payment_id=payment.id, organization_id=payment.organization_id, updated_at=at
        )

    def reversed(self, at: datetime) -> Self:
        """REVERSED, before or after it was credited."""
        return replace(self, state=State.REVERSED, reversals=self.reversals + 1, updated_at=at)

    def recalled(self, amount_micros: int, at: datetime) -> Self:
        """With the amount recalled by the sender's bank; REVERSED once nothing remains."""
        after = replace(self, recalled_micros=self.recalled_micros + amount_micros, updated_at=at)
        return after if after.remaining_micros else after.reversed(at)

    def credit(self, wallet: Wallet, payment: Payment) -> Transfer:
        """The transfer into the payment's wallet, from the provider or, if it was unmatched, from suspense."""
        source = self.suspense if self.state is State.UNMATCHED else wallet.clearing(self.provider)
        return replace(self._transfer("DEPOSIT", source, wallet.available), reference=payment.id)

    def reversal(self, wallet: Wallet, recall: Recall | None = None) -> Transfer:
        """The transfer from the wallet to the provider, of the recalled or the remaining amount."""
        return self._limited_to(self._transfer("REVERSAL", wallet.available, wallet.clearing(self.provider)), recall)

    def suspension(self) -> Transfer:
        """The transfer from the provider to suspense."""
        return self._transfer("SUSPENSE", self._platform_account(Kind.PROVIDER_CLEARING), self.suspense)

    def suspense_reversal(self, recall: Recall | None = None) -> Transfer:
        """The transfer from suspense to the provider, of the recalled or the remaining amount."""
        return self._limited_to(
            self._transfer("REVERSAL", self.suspense, self._platform_account(Kind.PROVIDER_CLEARING)), recall
        )

    def recall_fee(self, recall: Recall, reversal: Transfer) -> Sequence[Transfer]:
        """The bank's fee, which the platform bears: the part of the recall that exceeds the reversal."""
        fee_micros = recall.amount_micros - reversal.amount_micros
        if fee_micros <= 0:
            return ()
        fees = self._platform_account(Kind.FEES)
        key = f"fee:{self.id}:{recall.key}"
        return (Transfer("FEE", fees, reversal.credit, fee_micros, reversal.reference, key),)

    def _limited_to(self, whole: Transfer, recall: Recall | None) -> Transfer:
        if recall is None:
            return whole
        amount_micros = min(recall.amount_micros, self.remaining_micros)
        return replace(whole, amount_micros=amount_micros, key=f"reversal:{self.id}:{recall.key}")

    @property
    def suspense(self) -> Account:
        """The platform's account for unmatched money of this provider and currency."""
        return self._platform_account(Kind.SUSPENSE)

    def _platform_account(self, kind: Kind) -> Account:
        return Account(kind, self.currency_code, None, self.provider)

    def _transfer(self, kind: str, debit: Account, credit: Account) -> Transfer:
        # A reversed deposit that reappears is credited again, under another key.
        key = f"{kind.lower()}:{self.id}" + (f":{self.reversals}" if self.reversals else "")
        return Transfer(kind, debit, credit, self.remaining_micros, self.payment_id or self.id, key)


def received(
    id: UUID,
    provider: str,
    funds: IncomingFunds,
    payment: Payment | None,
    at: datetime,
    sent_for: Payment | None = None,
) -> Deposit:
    """The funds as a new deposit: SEEN if they match the payment, UNMATCHED without one.

    If the funds are the whole payment, the deposit has the payment's id and hence the key of its transfer. An older
    release without deposits credits under that key, so the two cannot both credit it during a deployment.
    """
    is_whole = payment is not None and funds.key == payment.external_id
    return Deposit(
        id=payment.id if payment and is_whole else id,
        provider=provider,
        external_key=funds.key,
        payment_id=payment.id if payment else None,
        organization_id=payment.organization_id if payment else None,
        state=State.SEEN if payment else State.UNMATCHED,
        amount_micros=funds.amount_micros,
        currency_code=funds.currency_code,
        asset=funds.asset,
        asset_amount=funds.asset_amount,
        rate=funds.rate,
        detail=funds.detail,
        reversals=0,
        created_at=at,
        updated_at=at,
        sent_for_payment_id=sent_for.id if sent_for else None,
        sent_for_organization_id=sent_for.organization_id if sent_for else None,
    )
