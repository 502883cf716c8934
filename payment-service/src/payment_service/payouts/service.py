"""Reserves and sends payouts, and books the status of their transfers."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from adplatform.events.v1.events_pb2 import PayoutSettled

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError, Unavailable
from adlib.ids import NewId
from adlib.money import currency, to_minor
from adlib.outbox import Outbox
from adlib.telemetry import logger
from payment_service.debts.service import DebtService
from payment_service.ledger import store as ledger
from payment_service.ledger.model import InsufficientFunds, Kind, Transfer
from payment_service.payouts import store
from payment_service.payouts.model import Payout, PayoutNotFound, PayoutReused, State
from payment_service.providers.model import BankAccount, PayoutRejected, QuoteExpired, TransferState, TransferStatus
from payment_service.providers.protocol import SendsPayouts

# Longer than all steps of an attempt take, so that no other process starts one meanwhile.
_LEASE = timedelta(seconds=60)
_MAX_RETRY_PAUSE_S = 60
_PROCESSING_CHECK_AFTER = timedelta(minutes=1)
# A transfer may bounce weeks after it has arrived. A webhook reports it; polling finds the ones that were missed.
_FOLLOW_PERIOD = timedelta(days=60)
_FOLLOW_INTERVAL = timedelta(hours=6)
_OUTCOMES = {
    State.PROCESSING: PayoutSettled.PROCESSING,
    State.PAID: PayoutSettled.PAID,
    State.FAILED: PayoutSettled.FAILED,
}
_log = logger(__name__)


class PayoutService:
    """The use cases of payouts; `bank` sends them. `to_send` is set when a payout is due at once."""

    def __init__(
        self, db: Database, outbox: Outbox, bank: SendsPayouts, debts: DebtService, clock: Clock, ids: NewId
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._bank = bank
        self._debts = debts
        self._clock = clock
        self._ids = ids
        self.to_send = threading.Event()

    def reserve(
        self, payout_id: UUID, organization_id: UUID, publisher_id: UUID, amount_micros: int, currency_code: str
    ) -> None:
        """Reserves the amount from earnings that are not on hold; a repeat changes nothing. INSUFFICIENT_FUNDS."""
        to_minor(amount_micros, currency(currency_code))
        self._debts.settle_marked()
        now = self._clock.now()
        payout = Payout(
            payout_id, organization_id, publisher_id, amount_micros, currency_code, State.RESERVED,
            destination=None, recipient_id=None, quote_id=None, transfer_id=None, failure_reason="", attempts=0,
            created_at=now, updated_at=now,
        )  # fmt: skip
        with self._db.transaction() as tx:
            if not store.add(tx, payout):
                first = store.get_any_tenant(tx, payout_id)
                if first is None or not first.is_same_request_as(payout):
                    raise PayoutReused(payout_id)
                return
            transfer = payout.reserve_transfer()
            earned_micros = ledger.lock(tx, [transfer.debit, transfer.credit])[transfer.debit]
            if earned_micros < amount_micros:
                raise InsufficientFunds(earned_micros, amount_micros, currency_code)
            ledger.post(tx, [transfer], self._ids)

    def cancel(self, payout_id: UUID) -> None:
        """Releases the amount; a repeat changes nothing. PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID."""
        with self._db.transaction() as tx:
            before = self._lock(tx, payout_id)
            self._change(tx, before, before.cancelled(self._clock.now()))

    def send(self, payout_id: UUID, destination: BankAccount) -> None:
        """Queues the payout for `PayoutSender`; a repeat changes nothing.

        PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID; EARNINGS_ON_HOLD if an advertiser that it was earned from is in debt.
        """
        self._debts.settle_marked()
        with self._db.transaction() as tx:
            before = self._lock(tx, payout_id)
            after = before.sent_to(destination, self._clock.now())
            if after != before:
                self._check_payable(tx, before)
                store.save_any_tenant(tx, after, next_attempt_at=self._clock.now())
                tx.after_commit.append(self.to_send.set)

    def unsent(self, limit: int) -> Sequence[UUID]:
        """Payouts whose next attempt is due."""
        return store.due_any_tenant(self._db, self._clock.now(), limit)

    def unsettled(self, limit: int) -> Sequence[UUID]:
        """Payouts whose webhook may have been missed: those processing for a minute, and those that may be returned."""
        now = self._clock.now()
        processing = store.processing_any_tenant(self._db, now - _PROCESSING_CHECK_AFTER, limit)
        returnable = store.returnable_any_tenant(self._db, now - _FOLLOW_PERIOD, now - _FOLLOW_INTERVAL, limit)
        return [*processing, *returnable]

    def attempt(self, payout_id: UUID) -> None:
        """Sends the payout as far as possible now; the rest is due again after a pause. UNAVAILABLE."""
        now = self._clock.now()
        with self._db.transaction() as tx:
            payout = store.claim_any_tenant(tx, payout_id, now, now + _LEASE)
        if payout is None:
            return
        try:
            self._send(payout)
        except PayoutRejected as rejection:
            _log.warning("payout_rejected", payout=str(payout_id), reason=str(rejection))
            self._apply(payout_id, TransferStatus(TransferState.FAILED, str(rejection)))
        except AppError as error:
            _log.warning("payout_waits", payout=str(payout_id), attempts=payout.attempts, error=error.message)
            self._retry_later(payout)
            raise

    def check(self, payout_id: UUID) -> None:
        """Polls the status of the payout's transfer, and books it."""
        # Recorded first, in its own transaction, so that a payout that always fails does not block the others.
        with self._db.transaction() as tx:
            store.mark_checked_any_tenant(tx, payout_id, self._clock.now())
        payout = store.get_any_tenant(self._db, payout_id)
        if payout is not None and payout.transfer_id is not None:
            self._apply(payout_id, self._bank.transfer_status(payout.transfer_id, payout.amount_micros))

    def settle_in(self, tx: Transaction, transfer_id: str, status: TransferStatus) -> bool:
        """Books a transfer's status in the caller's transaction; False if the transfer is not a payout's."""
        before = store.lock_by_transfer_any_tenant(tx, transfer_id)
        if before is None:
            return False
        self._change(tx, before, before.apply(status, self._clock.now()))
        return True

    def _send(self, payout: Payout) -> None:
        """Runs the remaining steps, each stored before the next, so that a crash repeats none."""
        transfer_id = payout.transfer_id or self._create_transfer(payout)
        status = self._bank.transfer_status(transfer_id, payout.amount_micros)
        if status.state is TransferState.AWAITING_FUNDS:
            self._bank.fund(transfer_id)
            status = TransferStatus(TransferState.PROCESSING)
        self._apply(payout.id, status)

    def _create_transfer(self, payout: Payout) -> str:
        amount_micros, currency_code = payout.amount_micros, payout.currency_code
        if payout.recipient_id is None and payout.destination is None:
            raise PayoutRejected("the payout has no bank account")
        recipient_id, quote_id = payout.recipient_id, payout.quote_id
        if recipient_id is None and payout.destination:
            recipient_id = self._bank.create_recipient(payout.destination, currency_code)
            self._save_step(payout, "recipient_id", recipient_id)
        if quote_id is None:
            quote_id = self._bank.create_quote(amount_micros, currency_code)
            self._save_step(payout, "quote_id", quote_id)
        try:
            transfer_id = self._bank.create_transfer(
                payout.id, recipient_id or "", quote_id, amount_micros, currency_code
            )
        except QuoteExpired as error:
            self._save_step(payout, "quote_id", None)
            raise Unavailable("the quote has expired; the next attempt requests another") from error
        self._save_step(payout, "transfer_id", transfer_id)
        return transfer_id

    def _save_step(self, payout: Payout, field: str, external_id: str | None) -> None:
        with self._db.transaction() as tx:
            store.save_step_any_tenant(tx, payout.id, field, external_id)

    def _retry_later(self, payout: Payout) -> None:
        pause_s = min(2 ** min(payout.attempts, 10), _MAX_RETRY_PAUSE_S)
        with self._db.transaction() as tx:
            store.schedule_any_tenant(tx, payout.id, self._clock.now() + timedelta(seconds=pause_s))

    def _apply(self, payout_id: UUID, status: TransferStatus) -> None:
        with self._db.transaction() as tx:
            before = self._lock(tx, payout_id)
            self._change(tx, before, before.apply(status, self._clock.now()))

    def _change(self, tx: Transaction, before: Payout, after: Payout) -> None:
        """Stores the payout's new state, posts its ledger transfers, and publishes its outcome."""
        if after == before:
            return
        store.save_any_tenant(tx, after)
        self._post(tx, after, after.transfers_since(before, self._bank.name))
        if after.state in _OUTCOMES:
            event = PayoutSettled(payout_id=str(after.id), outcome=_OUTCOMES[after.state], reason=after.failure_reason)
            self._outbox.append(tx, after.organization_id, event)

    def _check_payable(self, tx: Transaction, payout: Payout) -> None:
        transfer = payout.reserve_transfer()
        ledger.lock(tx, [transfer.debit, transfer.credit])
        self._debts.check_payable(
            tx, payout.organization_id, payout.publisher_id, payout.amount_micros, payout.currency_code
        )

    def _post(self, tx: Transaction, payout: Payout, transfers: Sequence[Transfer]) -> None:
        if not transfers:
            return
        ledger.lock(tx, {side for one in transfers for side in (one.debit, one.credit)})
        ledger.post(tx, transfers, self._ids)
        if any(one.credit.kind is Kind.PUBLISHER_PAYABLE for one in transfers):
            self._debts.mark_debtors(tx, payout.organization_id, payout.publisher_id, payout.currency_code)

    @staticmethod
    def _lock(tx: Transaction, payout_id: UUID) -> Payout:
        payout = store.lock_any_tenant(tx, payout_id)
        if payout is None:
            raise PayoutNotFound(payout_id)
        return payout
