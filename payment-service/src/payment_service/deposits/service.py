"""Crediting what has arrived, and taking back what turns out not to have; always in the caller's transaction.

The payment is locked before its deposits, and its deposits before accounts.
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
    arrived,
)
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Transfer
from payment_service.ledger.wallet import Wallet
from payment_service.payments.model import CurrencyMismatch, IncomingFunds, Payment, Recall
from payment_service.receipts import store as receipts

_log = logger(__name__)


class Deposits:
    """The use cases of what has arrived."""

    def __init__(self, clock: Clock, ids: NewId) -> None:
        self._clock = clock
        self._ids = ids

    def of_payment(self, db: Session, payment: Payment) -> Sequence[Deposit]:
        """The newest of what has arrived for a payment, oldest first."""
        return store.of_payment(db, payment.organization_id, payment.id)

    def book(self, tx: Transaction, payment: Payment, arrival: IncomingFunds) -> Payment:
        """Shows the arrival, and credits it once it is final, once for its key; the locked payment as it is then."""
        if arrival.currency_code != payment.currency_code:
            if arrival.is_final:
                self.suspend(tx, payment.provider, arrival, payment)
            return payment
        now = self._clock.now()
        new = arrived(self._ids(), payment.provider, arrival, payment, now)
        store.add(tx, new)
        deposit = store.lock_of_anyone(tx, payment.provider, arrival.key)
        if deposit.payment_id != payment.id or deposit.state is State.CREDITED:
            return payment
        if deposit.state is State.REVERSED and not deposit.may_come_again:
            return payment
        seen = deposit.seen(arrival.detail, now)
        if not arrival.is_final:
            if seen != deposit:
                store.save(tx, seen)
            return payment
        payment = self._credit(tx, seen, payment)
        for recall in arrival.recalls:
            payment = self.reverse(tx, payment.provider, arrival.key, payment, recall) or payment
        return payment

    def suspend(self, tx: Transaction, provider: str, arrival: IncomingFunds, sent_for: Payment | None = None) -> None:
        """Keeps money that staff have to assign on the suspense account, once for its key.

        `sent_for` is the payment that it was sent for, where its currency is the reason.
        """
        now = self._clock.now()
        deposit = arrived(self._ids(), provider, arrival, None, now, sent_for)
        if not store.add(tx, deposit):
            known = store.lock_of_anyone(tx, provider, arrival.key)
            if not known.may_come_again:
                return
            deposit = known.unmatched(now)
            store.save(tx, deposit)
        _log.warning("deposit_unmatched", deposit=str(deposit.id), provider=provider, key=arrival.key)
        transfer = deposit.suspended()
        ledger.lock(tx, [transfer.debit, transfer.credit])
        ledger.post(tx, [transfer], self._ids)
        for recall in arrival.recalls:
            self.reverse(tx, provider, arrival.key, None, recall)

    def held_reason(self, tx: Transaction, payment: Payment) -> str:
        """Why the payment waits for staff; empty where nothing was sent for it in another currency."""
        deposit = store.held(tx, payment.organization_id, payment.id)
        return deposit.held_reason if deposit else ""

    def by_id_of_anyone(self, tx: Transaction, deposit_id: UUID) -> Deposit | None:
        """The deposit."""
        return store.by_id_of_anyone(tx, deposit_id)

    def assign(
        self, tx: Transaction, deposit_id: UUID, payment: Payment, *, takes_transfers: bool
    ) -> tuple[Deposit, Payment]:
        """Credits an unmatched deposit to the locked payment; both as they are then. A repeat changes nothing.

        `takes_transfers` is that of the payment's provider. DEPOSIT_NOT_FOUND, DEPOSIT_ASSIGNED, CURRENCY_MISMATCH,
        DEPOSIT_NOT_ASSIGNABLE.
        """
        deposit = store.lock_by_id_of_anyone(tx, deposit_id)
        if deposit is None:
            raise DepositNotFound(deposit_id)
        if deposit.state is State.CREDITED and deposit.payment_id == payment.id:
            return deposit, payment
        if deposit.state is not State.UNMATCHED:
            raise DepositAssigned(deposit_id)
        if deposit.currency_code != payment.currency_code:
            raise CurrencyMismatch(deposit.currency_code)
        # A refund goes the payment's way, so that has to be the way that the money came.
        if deposit.provider != payment.provider:
            why = f"it came by {deposit.provider}, and the payment is by {payment.provider}"
            raise DepositNotAssignable(deposit, payment, why)
        if payment.external_id is None or not takes_transfers:
            raise DepositNotAssignable(deposit, payment, "a refund of the payment could not give the deposit back")
        paid = self._credit(tx, deposit, payment)
        return store.lock_of_anyone(tx, deposit.provider, deposit.external_key), paid

    def of_anyone(self, db: Session, provider: str, key: str) -> Deposit | None:
        """What has arrived under the provider's key."""
        return store.get_of_anyone(db, provider, key)

    def reverse(
        self, tx: Transaction, provider: str, key: str, payment: Payment | None, recall: Recall | None = None
    ) -> Payment | None:
        """Takes back what was credited under the key, or what the recall says of it, or forgets what was only seen.

        The locked payment as it is then. What is not in the wallet any more becomes a debt. A repeat changes nothing;
        ABORTED where it has become another payment's meanwhile.
        """
        deposit = store.lock_of_anyone(tx, provider, key)
        if deposit.state is State.REVERSED:
            return payment
        if deposit.payment_id != (payment.id if payment else None):
            raise Aborted("the deposit is being assigned right now; try again")
        now = self._clock.now()
        if recall is None:
            store.save(tx, deposit.reversed(now))
        elif store.add_recall(tx, deposit.id, recall, now):
            store.save(tx, deposit.recalled(min(recall.amount_micros, deposit.left_micros), now))
        else:
            return payment
        if payment is None:
            transfer = deposit.unsuspended(recall)
            ledger.lock(tx, [transfer.debit, transfer.credit])
            ledger.post(tx, [transfer, *self._beyond(tx, deposit, recall, transfer)], self._ids)
            return None
        if deposit.state is State.SEEN:
            return payment
        _log.warning("deposit_reversed", deposit=str(deposit.id), payment=str(payment.id), key=key)
        wallet = Wallet(payment.organization_id, payment.currency_code)
        transfer = deposit.take_back(wallet, recall)
        balances = ledger.lock(tx, [wallet.available, wallet.debt, transfer.credit])
        beyond = self._beyond(tx, deposit, recall, transfer)
        ledger.post(tx, [*wallet.take(transfer, balances), *beyond], self._ids)
        return payment.reversed(transfer.amount_micros, now)

    @staticmethod
    def _beyond(tx: Transaction, deposit: Deposit, recall: Recall | None, back: Transfer) -> Sequence[Transfer]:
        fees = deposit.beyond(recall, back) if recall else ()
        if fees:
            # Everybody's, and so the last that is locked.
            ledger.lock(tx, [fee.debit for fee in fees])
        return fees

    def _credit(self, tx: Transaction, deposit: Deposit, payment: Payment) -> Payment:
        now = self._clock.now()
        store.save(tx, deposit.credited_to(payment, now))
        wallet = Wallet(payment.organization_id, payment.currency_code)
        transfer: Transfer = deposit.credit(wallet, payment)
        balances = ledger.lock(tx, [transfer.debit, wallet.available, wallet.debt])
        ledger.post(tx, wallet.put(transfer, balances), self._ids)
        receipts.issue(tx, payment.organization_id, payment.id, now)
        return payment.credited(deposit.left_micros, now, deposit.created_at)
