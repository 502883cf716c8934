"""Credits, suspends, assigns and reverses deposits, always in the caller's transaction.

Locks the payment first, then its deposits, then accounts.
"""

from collections.abc import Sequence
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Session, Transaction
from adlib.errors import Aborted
from adlib.ids import NewId
from adlib.telemetry import logger
from payment_service.deposits import store
from payment_service.deposits.model import (
    Deposit,
    DepositAssigned,
    DepositNotAssignable,
    DepositNotFound,
    State,
    received,
)
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Transfer, Wallet
from payment_service.payments.model import CurrencyMismatch, IncomingFunds, Payment, Recall
from payment_service.receipts import store as receipts

_log = logger(__name__)


class DepositService:
    """The use cases of deposits."""

    def __init__(self, clock: Clock, ids: NewId) -> None:
        self._clock = clock
        self._ids = ids

    def of_payment(self, db: Session, payment: Payment) -> Sequence[Deposit]:
        """The payment's 50 newest deposits, oldest first."""
        return store.of_payment(db, payment.organization_id, payment.id)

    def book(self, tx: Transaction, payment: Payment, funds: IncomingFunds) -> Payment:
        """Stores the funds as a deposit, credits them once they are final, and returns the changed, locked payment."""
        if funds.currency_code != payment.currency_code:
            if funds.is_final:
                self.suspend(tx, payment.provider, funds, payment)
            return payment
        now = self._clock.now()
        new = received(self._ids(), payment.provider, funds, payment, now)
        store.add(tx, new)
        deposit = store.lock_any_tenant(tx, payment.provider, funds.key)
        if deposit.payment_id != payment.id or deposit.state is State.CREDITED:
            return payment
        if deposit.state is State.REVERSED and not deposit.can_reappear:
            return payment
        seen = deposit.seen(funds.detail, now)
        if not funds.is_final:
            if seen != deposit:
                store.save(tx, seen)
            return payment
        payment = self._credit(tx, seen, payment)
        for recall in funds.recalls:
            payment = self.reverse(tx, payment.provider, funds.key, payment, recall) or payment
        return payment

    def suspend(self, tx: Transaction, provider: str, funds: IncomingFunds, sent_for: Payment | None = None) -> None:
        """Books the funds to the suspense account, once per key, until staff assign them.

        `sent_for`: the payment they were sent for, if only their currency differs.
        """
        now = self._clock.now()
        deposit = received(self._ids(), provider, funds, None, now, sent_for)
        if not store.add(tx, deposit):
            known = store.lock_any_tenant(tx, provider, funds.key)
            if not known.can_reappear:
                return
            deposit = known.unmatched(now)
            store.save(tx, deposit)
        _log.warning("deposit_unmatched", deposit=str(deposit.id), provider=provider, key=funds.key)
        transfer = deposit.suspension()
        ledger.lock(tx, [transfer.debit, transfer.credit])
        ledger.post(tx, [transfer], self._ids)
        for recall in funds.recalls:
            self.reverse(tx, provider, funds.key, None, recall)

    def unmatched_reason(self, tx: Transaction, payment: Payment) -> str:
        """The pending reason if a deposit for the payment waits for staff to assign it; else empty."""
        deposit = store.newest_unmatched(tx, payment.organization_id, payment.id)
        return deposit.unmatched_reason if deposit else ""

    def get_by_id_any_tenant(self, tx: Transaction, deposit_id: UUID) -> Deposit | None:
        """The deposit of any organization."""
        return store.get_by_id_any_tenant(tx, deposit_id)

    def assign(
        self, tx: Transaction, deposit_id: UUID, payment: Payment, *, is_refundable: bool
    ) -> tuple[Deposit, Payment]:
        """Credits an unmatched deposit to the locked payment and returns both. A repeat changes nothing.

        `is_refundable`: whether the payment's provider could refund the deposit. DEPOSIT_NOT_FOUND, DEPOSIT_ASSIGNED,
        CURRENCY_MISMATCH, DEPOSIT_NOT_ASSIGNABLE.
        """
        deposit = store.lock_by_id_any_tenant(tx, deposit_id)
        if deposit is None:
            raise DepositNotFound(deposit_id)
        if deposit.state is State.CREDITED and deposit.payment_id == payment.id:
            return deposit, payment
        if deposit.state is not State.UNMATCHED:
            raise DepositAssigned(deposit_id)
        if deposit.currency_code != payment.currency_code:
            raise CurrencyMismatch(deposit.currency_code)
        # Refunds are sent through the payment's provider, so the money must have come through it.
        if deposit.provider != payment.provider:
            why = f"it came by {deposit.provider}, and the payment is by {payment.provider}"
            raise DepositNotAssignable(deposit, payment, why)
        if payment.external_id is None or not is_refundable:
            raise DepositNotAssignable(deposit, payment, "a refund of the payment could not give the deposit back")
        paid = self._credit(tx, deposit, payment)
        return store.lock_any_tenant(tx, deposit.provider, deposit.external_key), paid

    def get_any_tenant(self, db: Session, provider: str, key: str) -> Deposit | None:
        """The deposit with the provider's key; None if there is none."""
        return store.get_any_tenant(db, provider, key)

    def reverse(
        self, tx: Transaction, provider: str, key: str, payment: Payment | None, recall: Recall | None = None
    ) -> Payment | None:
        """Reverses the deposit with the key, or the recalled part, and returns the changed, locked payment.

        An amount that the wallet no longer has becomes debt. A repeat changes nothing. ABORTED if the deposit was
        assigned to another payment concurrently.
        """
        deposit = store.lock_any_tenant(tx, provider, key)
        if deposit.state is State.REVERSED:
            return payment
        if deposit.payment_id != (payment.id if payment else None):
            raise Aborted("the deposit is being assigned right now; try again")
        now = self._clock.now()
        if recall is None:
            store.save(tx, deposit.reversed(now))
        elif store.add_recall(tx, deposit.id, recall, now):
            store.save(tx, deposit.recalled(min(recall.amount_micros, deposit.remaining_micros), now))
        else:
            return payment
        if payment is None:
            transfer = deposit.suspense_reversal(recall)
            ledger.lock(tx, [transfer.debit, transfer.credit])
            ledger.post(tx, [transfer, *self._recall_fee(tx, deposit, recall, transfer)], self._ids)
            return None
        if deposit.state is State.SEEN:
            return payment
        _log.warning("deposit_reversed", deposit=str(deposit.id), payment=str(payment.id), key=key)
        wallet = Wallet(payment.organization_id, payment.currency_code)
        transfer = deposit.reversal(wallet, recall)
        balances = ledger.lock(tx, [wallet.available, wallet.debt, transfer.credit])
        fee = self._recall_fee(tx, deposit, recall, transfer)
        ledger.post(tx, [*wallet.outgoing(transfer, balances), *fee], self._ids)
        return payment.reversed(transfer.amount_micros, now)

    @staticmethod
    def _recall_fee(tx: Transaction, deposit: Deposit, recall: Recall | None, reversal: Transfer) -> Sequence[Transfer]:
        fee = deposit.recall_fee(recall, reversal) if recall else ()
        if fee:
            # Shared by all organizations, so locked last.
            ledger.lock(tx, [one.debit for one in fee])
        return fee

    def _credit(self, tx: Transaction, deposit: Deposit, payment: Payment) -> Payment:
        now = self._clock.now()
        store.save(tx, deposit.credited_to(payment, now))
        wallet = Wallet(payment.organization_id, payment.currency_code)
        transfer = deposit.credit(wallet, payment)
        balances = ledger.lock(tx, [transfer.debit, wallet.available, wallet.debt])
        ledger.post(tx, wallet.incoming(transfer, balances), self._ids)
        receipts.issue(tx, payment.organization_id, payment.id, now)
        return payment.credited(deposit.remaining_micros, now, deposit.created_at)
