"""Setting payouts' money aside, sending it, and booking what the bank says."""

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
from payment_service.payouts.bank import Bank, QuoteUnusable, Refused, Standing
from payment_service.payouts.model import BankAccount, Payout, PayoutNotFound, PayoutReused, State

# Longer than all steps of an attempt may take, so that nobody else begins one meanwhile.
_LEASE = timedelta(seconds=60)
_LONGEST_PAUSE_S = 60
_CHECK_AFTER = timedelta(minutes=1)
# A bounce can come weeks after a payout has arrived. It is notified, and asked for only where that was missed.
_FOLLOW_FOR = timedelta(days=60)
_FOLLOW_AFTER = timedelta(hours=6)
_OUTCOMES = {
    State.PROCESSING: PayoutSettled.PROCESSING,
    State.PAID: PayoutSettled.PAID,
    State.FAILED: PayoutSettled.FAILED,
}
_log = logger(__name__)


class PayoutService:
    """The use cases of payouts. `to_send` is set when there is one to be sent at once."""

    def __init__(self, db: Database, outbox: Outbox, bank: Bank, debts: DebtService, clock: Clock, ids: NewId) -> None:
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
        """Sets the amount aside, which what is on hold is none of; a repeat changes nothing. INSUFFICIENT_FUNDS."""
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
                first = store.get(tx, payout_id)
                if first is None or not first.asks_the_same(payout):
                    raise PayoutReused(payout_id)
                return
            transfer = payout.reserve_transfer()
            earned_micros = ledger.lock(tx, [transfer.debit, transfer.credit])[transfer.debit]
            if earned_micros < amount_micros:
                raise InsufficientFunds(earned_micros, amount_micros, currency_code)
            ledger.post(tx, [transfer], self._ids)

    def cancel(self, payout_id: UUID) -> None:
        """Gives the amount back; a repeat changes nothing. PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID."""
        with self._db.transaction() as tx:
            before = self._locked(tx, payout_id)
            self._change(tx, before, before.cancelled(self._clock.now()))

    def send(self, payout_id: UUID, destination: BankAccount) -> None:
        """Has the payout sent, by the sender; a repeat changes nothing.

        PAYOUT_NOT_FOUND, PAYOUT_STATE_INVALID; EARNINGS_ON_HOLD where it was earned from who owes money since.
        """
        self._debts.settle_marked()
        with self._db.transaction() as tx:
            before = self._locked(tx, payout_id)
            after = before.sent_to(destination, self._clock.now())
            if after != before:
                self._check_payable(tx, before)
                store.save(tx, after, next_attempt_at=self._clock.now())
                tx.after_commit.append(self.to_send.set)

    def unsent(self, limit: int) -> Sequence[UUID]:
        """Payouts whose next attempt is due."""
        return store.due(self._db, self._clock.now(), limit)

    def unsettled(self, limit: int) -> Sequence[UUID]:
        """Payouts whose webhook may have been missed: under way for a minute, or paid, and able to come back."""
        now = self._clock.now()
        under_way = store.under_way(self._db, now - _CHECK_AFTER, limit)
        return [*under_way, *store.followed(self._db, now - _FOLLOW_FOR, now - _FOLLOW_AFTER, limit)]

    def attempt(self, payout_id: UUID) -> None:
        """Sends the payout as far as it will go now; what is left is due again after a pause. UNAVAILABLE."""
        now = self._clock.now()
        with self._db.transaction() as tx:
            payout = store.claim(tx, payout_id, now, now + _LEASE)
        if payout is None:
            return
        try:
            self._send(payout)
        except Refused as refusal:
            _log.warning("payout_refused", payout=str(payout_id), reason=str(refusal))
            self._settle(payout_id, Standing(State.FAILED, str(refusal)))
        except AppError as error:
            _log.warning("payout_waits", payout=str(payout_id), attempts=payout.attempts, error=error.message)
            self._try_later(payout)
            raise

    def check(self, payout_id: UUID) -> None:
        """Asks the bank how the payout stands, and books that."""
        # First, so that one that always fails does not keep the others from their turn.
        with self._db.transaction() as tx:
            store.checked(tx, payout_id, self._clock.now())
        payout = store.get(self._db, payout_id)
        if payout is not None and payout.transfer_id is not None:
            self._settle(payout_id, self._bank.standing(payout))

    def settle_in(
        self, tx: Transaction, transfer_id: str, state: State, reason: str, returned_micros: int | None = None
    ) -> bool:
        """Books what the bank said of a transfer, in the caller's transaction; False where it is none of ours."""
        before = store.lock_by_transfer(tx, transfer_id)
        if before is None:
            return False
        self._change(tx, before, before.apply(state, reason, self._clock.now(), returned_micros))
        return True

    def _send(self, payout: Payout) -> None:
        """The steps that are not taken yet, each remembered before the next, so that a crash loses none."""
        if payout.transfer_id is None:
            payout = self._with_transfer(payout)
        standing = self._bank.standing(payout)
        if standing.state is State.SENDING:
            self._bank.fund(payout)
            self._settle(payout.id, Standing(State.PROCESSING))
        else:
            self._settle(payout.id, standing)

    def _with_transfer(self, payout: Payout) -> Payout:
        if payout.recipient_id is None:
            payout = self._kept(payout, "recipient_id", self._bank.recipient(payout))
        if payout.quote_id is None:
            payout = self._kept(payout, "quote_id", self._bank.quote(payout))
        try:
            return self._kept(payout, "transfer_id", self._bank.transfer(payout))
        except QuoteUnusable as error:
            self._kept(payout, "quote_id", None)
            raise Unavailable("the quote has expired; the next attempt asks for another") from error

    def _kept(self, payout: Payout, field: str, external_id: str | None) -> Payout:
        with self._db.transaction() as tx:
            store.keep(tx, payout.id, field, external_id)
        found = store.get(self._db, payout.id)
        if found is None:
            raise PayoutNotFound(payout.id)
        return found

    def _try_later(self, payout: Payout) -> None:
        pause_s = min(2 ** min(payout.attempts, 10), _LONGEST_PAUSE_S)
        with self._db.transaction() as tx:
            store.again(tx, payout.id, self._clock.now() + timedelta(seconds=pause_s))

    def _settle(self, payout_id: UUID, standing: Standing) -> None:
        with self._db.transaction() as tx:
            before = self._locked(tx, payout_id)
            after = before.apply(standing.state, standing.reason, self._clock.now(), standing.returned_micros)
            self._change(tx, before, after)

    def _change(self, tx: Transaction, before: Payout, after: Payout) -> None:
        """Stores the payout's new state, moves the money that goes with it, and tells the publisher's service."""
        if after == before:
            return
        store.save(tx, after)
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
    def _locked(tx: Transaction, payout_id: UUID) -> Payout:
        payout = store.lock(tx, payout_id)
        if payout is None:
            raise PayoutNotFound(payout_id)
        return payout
