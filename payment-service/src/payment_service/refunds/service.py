"""Giving payments back, and booking what providers say of that.

What goes back is set aside in the transaction that makes the refund; then the provider is asked, by a call that can be
repeated; then what it said is booked. Whatever ends in between is carried on by the queue. The payment is locked before
accounts are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import grpc
from adplatform.payment.v1 import refunds_pb2 as pb

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.idempotency import Once
from adlib.ids import NewId
from adlib.money import to_minor
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from adlib.telemetry import logger
from payment_service.disputes import store as disputes
from payment_service.ledger import store as ledger
from payment_service.payments import store as payments
from payment_service.payments.model import (
    CurrencyMismatch,
    Payment,
    PaymentNotFound,
    PaymentStateInvalid,
    ProviderNotAvailable,
    ProviderRejected,
)
from payment_service.payments.service import PaymentService
from payment_service.providers.protocol import Outgoing, Provider, RefundReport
from payment_service.providers.turns import Turns
from payment_service.refunds import store
from payment_service.refunds.model import Refund, RefundTooLarge, State
from payment_service.work.store import WorkQueue

SEND_REFUND = "send-refund"

# The queue's turn comes when that of the call that asked is over.
_SOON = timedelta(seconds=15)
# Later than that a provider may have to be asked more than one thing, and a caller is not held for that.
_FRESH = timedelta(hours=1)
# By then the queue has given up.
_LEFT_OVER = timedelta(days=3)
_NO_ANSWER = "the payment provider does not answer; we keep trying"
# What time heals; every other error of a provider's is a refusal.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class NewRefund:
    """What a refund is asked for with; all that is left of the payment where there is no amount."""

    payment_id: UUID
    amount_micros: int | None
    currency_code: str
    reason: str
    sent_as: str


class RefundService:
    """The use cases of refunds; `providers` are those that are configured, by name."""

    def __init__(
        self,
        db: Database,
        providers: Mapping[str, Provider],
        turns: Turns,
        booking: PaymentService,
        queue: WorkQueue,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._providers = providers
        self._turns = turns
        self._payments = booking
        self._queue = queue
        self._clock = clock
        self._ids = ids

    def refund(self, caller: Caller, new: NewRefund, once: Once[Refund, pb.Refund]) -> Refund:
        """Gives the payment back, as far as its provider answers; a repeat is about the first refund.

        What the contract names, and PROVIDER_REJECTED.
        """
        with self._db.transaction() as tx:
            seen = once.replay(tx)
            refund = store.get_of_anyone(tx, UUID(seen.id)) if seen else None
            if refund is None:
                refund = self._begin(tx, caller, new)
                once.record(tx, refund)
        if refund.is_refused:
            raise ProviderRejected(refund.failure_message)
        if not refund.is_unsent or self._clock.now() - refund.created_at > _FRESH:
            return refund
        try:
            return self._sent(refund)
        except AppError as error:
            if error.code not in _PASSING:
                raise
            return self._waiting(refund)

    def list(self, organization_id: UUID, payment_id: UUID, part: Page) -> Slice[Refund]:
        """The refunds of the organization's payment, newest first; PAYMENT_NOT_FOUND."""
        self._payments.get(organization_id, payment_id)
        return cut(store.page(self._db, organization_id, payment_id, part), part, lambda refund: refund.id)

    def send(self, refund_id: UUID) -> None:
        """Asks the provider for a refund that it does not have yet; UNAVAILABLE, PROVIDER_NOT_AVAILABLE."""
        refund = store.get_of_anyone(self._db, refund_id)
        if refund is None or not refund.is_unsent:
            return
        if refund.provider not in self._providers:
            raise ProviderNotAvailable(refund.provider, ", ".join(sorted(self._providers)))
        try:
            self._sent(refund)
        except AppError as error:
            if error.code in _PASSING:
                self._waiting(refund)
                raise

    def unsent(self, limit: int) -> Sequence[UUID]:
        """Refunds that their providers do not have, though the queue has tried for days."""
        return store.unsent_of_anyone(self._db, self._clock.now() - _LEFT_OVER, limit)

    def settle_in(self, tx: Transaction, provider: str, report: RefundReport) -> bool:
        """Books how a refund stands, in the caller's transaction; False where it is of no payment of ours.

        A repeat or older news changes nothing. What was paid in another currency is not the payment's.
        """
        payment = payments.lock_of_anyone(tx, report.payment_id, provider)
        if payment is None or report.currency_code not in ("", payment.currency_code):
            return False
        refund = store.get_of_anyone(tx, report.refund_id) if report.refund_id else None
        if refund is None or refund.payment_id != payment.id:
            refund = store.known_of_anyone(tx, provider, report.external_id)
        if refund is None:
            self._add_elsewhere(tx, payment, report)
        else:
            self._tell(tx, payment, refund, report.external_id, State(report.state), report.failure_message)
        return True

    def _begin(self, tx: Transaction, caller: Caller, new: NewRefund) -> Refund:
        """The refund, with its amount set aside."""
        payment = self._locked_for(tx, caller, new.payment_id)
        if new.currency_code not in ("", payment.currency_code):
            raise CurrencyMismatch(payment.currency_code)
        if not payment.paid_micros or disputes.has_open(tx, payment.organization_id, payment.id):
            raise PaymentStateInvalid(payment.id, payment.state, "refunded")
        if payment.provider not in self._providers:
            raise ProviderNotAvailable(payment.provider, ", ".join(sorted(self._providers)))
        now = self._clock.now()
        refund = Refund(
            id=self._ids(),
            payment_id=payment.id,
            organization_id=payment.organization_id,
            provider=payment.provider,
            amount_micros=payment.kept_micros if new.amount_micros is None else new.amount_micros,
            currency_code=payment.currency_code,
            state=State.PENDING,
            external_id=None,
            reason=new.reason,
            sent_as=new.sent_as,
            asked_by=caller.user_id,
            created_at=now,
            updated_at=now,
        )
        available, *_ = refund.accounts
        refundable_micros = max(0, min(payment.kept_micros, ledger.lock(tx, refund.accounts)[available]))
        if not 0 < refund.amount_micros <= refundable_micros:
            raise RefundTooLarge(refundable_micros, payment.currency_code)
        if new.amount_micros is not None:
            to_minor(new.amount_micros, payment.currency_code)
        store.add(tx, refund)
        ledger.post(tx, refund.set_aside(), self._ids)
        self._payments.change_in(tx, payment, payment.refunding(refund.amount_micros, now))
        self._queue.add(tx, SEND_REFUND, refund.id, at=now + _SOON)
        return refund

    @staticmethod
    def _locked_for(tx: Transaction, caller: Caller, payment_id: UUID) -> Payment:
        """Anyone's payment for staff; for others their organization's. PAYMENT_NOT_FOUND."""
        if caller.is_staff:
            found = payments.get_of_anyone(tx, payment_id)
        else:
            found = payments.get(tx, caller.organization_id, payment_id)
        payment = found and payments.lock_of_anyone(tx, payment_id, found.provider)
        if payment is None:
            raise PaymentNotFound(payment_id)
        return payment

    def _sent(self, refund: Refund) -> Refund:
        """Has the provider make it. A refusal is final: the amount is in the wallet again."""
        payment = payments.get_of_anyone(self._db, refund.payment_id)
        if payment is None:
            raise PaymentNotFound(refund.payment_id)
        outgoing = Outgoing(refund.id, refund.amount_micros, refund.sent_as)
        try:
            report = self._providers[refund.provider].refund(payment, outgoing)
        except AppError as error:
            if error.code not in _PASSING:
                _log.warning("refund_refused", refund=str(refund.id), error=error.message)
                self._settle(
                    refund, None, State.FAILED, error.said if isinstance(error, ProviderRejected) else error.message
                )
            raise
        return self._settle(refund, report.external_id, State(report.state), report.failure_message)

    def _settle(self, refund: Refund, external_id: str | None, state: State, message: str) -> Refund:
        with self._db.transaction() as tx:
            payment, current = self._locked(tx, refund)
            # News may have been faster: what the provider has was not refused.
            if external_id is None and not current.is_unsent:
                return current
            return self._tell(tx, payment, current, external_id, state, message)

    def _waiting(self, refund: Refund) -> Refund:
        with self._db.transaction() as tx:
            _, current = self._locked(tx, refund)
            if current.is_unsent:
                current = current.waiting(_NO_ANSWER, self._clock.now())
                store.save(tx, current)
            return current

    @staticmethod
    def _locked(tx: Transaction, refund: Refund) -> tuple[Payment, Refund]:
        payment = payments.lock_of_anyone(tx, refund.payment_id, refund.provider)
        current = store.get_of_anyone(tx, refund.id)
        if payment is None or current is None:
            raise PaymentNotFound(refund.payment_id)
        return payment, current

    def _tell(
        self, tx: Transaction, payment: Payment, before: Refund, external_id: str | None, state: State, message: str
    ) -> Refund:
        """Books what is new, of a refund whose payment is locked."""
        now = self._clock.now()
        after = before.told(external_id, state, message, now)
        if after == before:
            return before
        store.save(tx, after)
        if after.state is not before.state:
            balances = ledger.lock(tx, after.accounts)
            ledger.post(tx, after.moved_from(before.state, balances), self._ids)
        if delta_micros := after.going_micros - before.going_micros:
            self._payments.change_in(tx, payment, payment.refunding(delta_micros, now))
        return after

    def _add_elsewhere(self, tx: Transaction, payment: Payment, report: RefundReport) -> None:
        """One that was made at the provider: the money has gone, unless it has come back already."""
        now = self._clock.now()
        is_back = report.state == State.FAILED
        refund = Refund(
            id=self._ids(),
            payment_id=payment.id,
            organization_id=payment.organization_id,
            provider=payment.provider,
            amount_micros=report.amount_micros,
            currency_code=payment.currency_code,
            state=State.FAILED if is_back else State.SUCCEEDED,
            external_id=report.external_id,
            reason="",
            sent_as="",
            asked_by=None,
            failure_message=report.failure_message,
            created_at=now,
            updated_at=now,
        )
        _log.warning("refund_elsewhere", refund=str(refund.id), payment=str(payment.id), external_id=report.external_id)
        store.add(tx, refund)
        if not is_back:
            ledger.post(tx, refund.taken(ledger.lock(tx, refund.accounts)), self._ids)
            self._payments.change_in(tx, payment, payment.refunding(refund.amount_micros, now))
