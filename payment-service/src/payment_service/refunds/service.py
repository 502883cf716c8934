"""Giving payments back, and booking what providers say of that.

What goes back is set aside in the transaction that makes the refund; then the provider is asked, by a call that can be
repeated; then what it said is booked. Whatever ends in between is carried on by the queue. What staff sent by hand is
checked at the provider first, and booked only then. The job asks about refunds that have been sent until they are
final. The payment is locked before accounts are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import grpc
from adplatform.payment.v1 import refunds_pb2 as pb

from adlib.clock import Clock
from adlib.db import Database, Session, Transaction
from adlib.errors import Aborted, AppError
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.money import to_minor
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from adlib.telemetry import logger
from payment_service.disputes import store as disputes
from payment_service.ledger import store as ledger
from payment_service.payments import store as payments
from payment_service.payments.model import CurrencyMismatch, Payment, PaymentNotFound, PaymentStateInvalid
from payment_service.payments.service import PaymentService
from payment_service.providers.bulkhead import Bulkhead
from payment_service.providers.model import ProviderNotAvailable, ProviderRejected
from payment_service.providers.protocol import Outgoing, Provider, RefundReport, SeenRefund, SentRefund
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds import store
from payment_service.refunds.model import Details, Refund, RefundTooLarge, State
from payment_service.work.store import WorkQueue

SEND_REFUND = "send-refund"

# The queue's turn comes when that of the call that asked is over.
_SOON = timedelta(seconds=15)
# Later than that a provider may have to be asked more than one thing, and a caller is not held for that.
_FRESH = timedelta(hours=1)
# By then the queue has given up.
_LEFT_OVER = timedelta(days=3)
# A refund is asked about after a quarter of its age, and every six hours at least: most that come back do so soon.
_ASK_AFTER_SHARE = 4
_ASK_AFTER_MOST = timedelta(hours=6)
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
        bulkhead: Bulkhead,
        booking: PaymentService,
        queue: WorkQueue,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._providers = providers
        self._bulkhead = bulkhead
        self._payments = booking
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._requests = RefundRequestService(db, clock, ids)

    def refund(self, caller: Caller, new: NewRefund, idempotency: Idempotency[Refund, pb.Refund]) -> Refund:
        """Gives the payment back, as far as its provider answers; a repeat is about the first refund.

        What the contract names, and PROVIDER_REJECTED.
        """
        seen_by_provider = self._checked_once(caller, new, idempotency)
        with self._db.transaction() as tx:
            seen = idempotency.replay(tx)
            refund = store.get_of_anyone(tx, UUID(seen.id)) if seen else None
            if refund is None:
                refund = self._begin(tx, caller, new, seen_by_provider)
                idempotency.record(tx, refund)
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

    def followed(self, limit: int) -> Sequence[UUID]:
        """Refunds that their providers have, may still reverse, and are to be asked about now."""
        return store.followed_of_anyone(self._db, sorted(self._providers), self._clock.now(), limit)

    def follow(self, refund_id: UUID) -> None:
        """Asks the provider how a refund stands that it has, and books that; the last time once it is final."""
        refund = store.get_of_anyone(self._db, refund_id)
        if refund is None or refund.external_id is None or refund.followed_until is None:
            return
        payment = payments.get_of_anyone(self._db, refund.payment_id)
        if payment is None:
            raise PaymentNotFound(refund.payment_id)
        now = self._clock.now()
        pause = min((now - refund.created_at) / _ASK_AFTER_SHARE, _ASK_AFTER_MOST)
        # First, so that one that always fails does not keep the others from their turn.
        with self._db.transaction() as tx:
            store.ask_again_of_anyone(tx, refund_id, now + pause)
        sent = SentRefund(refund.id, refund.external_id, refund.amount_micros)
        report = self._providers[refund.provider].look_up_refund(payment, sent)
        with self._db.transaction() as tx:
            locked, current = self._locked(tx, refund)
            self._tell(tx, locked, current, report.external_id, State(report.state), report)
            if report.is_final or now >= refund.followed_until:
                store.finish_of_anyone(tx, refund_id)

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
            self._tell(tx, payment, refund, report.external_id, State(report.state), report)
        return True

    def _checked_once(
        self, caller: Caller, new: NewRefund, idempotency: Idempotency[Refund, pb.Refund]
    ) -> SeenRefund | None:
        if idempotency.stored_answer(self._db):
            return None
        try:
            return self._checked(caller, new)
        except AppError:
            # Perhaps it was the first of two calls with this key that took what is missing now.
            if idempotency.stored_answer(self._db):
                return None
            raise

    def _checked(self, caller: Caller, new: NewRefund) -> SeenRefund | None:
        """What staff say that they sent by hand, once its provider shows it: a refusal leaves nothing behind."""
        payment = self._readable(self._db, caller, new.payment_id)
        refund = self._new(self._db, caller, new, payment)
        available, *_ = refund.accounts
        self._check_amount(refund, payment, new, ledger.takeable(self._db, refund.accounts)[available])
        with self._bulkhead.acquire(payment.provider):
            return self._providers[payment.provider].check_refund(payment, refund.amount_micros, new.sent_as)

    def _begin(self, tx: Transaction, caller: Caller, new: NewRefund, seen: SeenRefund | None) -> Refund:
        """The refund, with its amount set aside, or gone where its provider has shown that it was sent."""
        payment = self._locked_for(tx, caller, new.payment_id)
        refund = self._new(tx, caller, new, payment)
        balances = ledger.lock(tx, refund.accounts)
        available, *_ = refund.accounts
        self._check_amount(refund, payment, new, balances[available])
        if seen is None:
            store.add(tx, refund, self._first_asked_at(refund))
            ledger.post(tx, refund.set_aside(), self._ids)
            self._queue.add(tx, SEND_REFUND, refund.id, at=refund.created_at + _SOON)
        else:
            if seen.amount_micros != refund.amount_micros:
                raise Aborted("what is left of the payment has changed meanwhile; try again")
            refund = replace(refund, state=State.SUCCEEDED, external_id=seen.external_id)
            self._providers[refund.provider].claim_refund(tx, refund.id, seen)
            store.add(tx, refund, self._first_asked_at(refund))
            ledger.post(tx, refund.taken(balances), self._ids)
        self._payments.change_in(tx, payment, payment.refunding(refund.amount_micros, refund.created_at))
        self._requests.follow_in(tx, payment, refund.id, has_failed=False)
        return refund

    def _new(self, db: Session, caller: Caller, new: NewRefund, payment: Payment) -> Refund:
        """The refund that is asked for, not stored yet; what keeps the payment from being refunded at all."""
        if new.currency_code not in ("", payment.currency_code):
            raise CurrencyMismatch(payment.currency_code)
        if not payment.paid_micros or disputes.has_open(db, payment.organization_id, payment.id):
            raise PaymentStateInvalid(payment.id, payment.state, "refunded")
        if payment.provider not in self._providers:
            raise ProviderNotAvailable(payment.provider, ", ".join(sorted(self._providers)))
        now = self._clock.now()
        return Refund(
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
            followed_until=now + self._providers[payment.provider].refunds_followed_for,
            created_at=now,
            updated_at=now,
        )

    @staticmethod
    def _check_amount(refund: Refund, payment: Payment, new: NewRefund, available_micros: int) -> None:
        """REFUND_TOO_LARGE, and what no provider could send."""
        refundable_micros = max(0, min(payment.kept_micros, available_micros))
        if not 0 < refund.amount_micros <= refundable_micros:
            raise RefundTooLarge(refundable_micros, payment.currency_code)
        if new.amount_micros is not None:
            to_minor(new.amount_micros, payment.currency_code)

    def _first_asked_at(self, refund: Refund) -> datetime | None:
        provider = self._providers.get(refund.provider)
        return refund.created_at + provider.refunds_asked_after if provider else None

    @staticmethod
    def _readable(db: Session, caller: Caller, payment_id: UUID) -> Payment:
        """Anyone's payment for staff; for others their organization's. PAYMENT_NOT_FOUND."""
        if caller.is_staff:
            found = payments.get_of_anyone(db, payment_id)
        else:
            found = payments.get(db, caller.organization_id, payment_id)
        if found is None:
            raise PaymentNotFound(payment_id)
        return found

    def _locked_for(self, tx: Transaction, caller: Caller, payment_id: UUID) -> Payment:
        found = self._readable(tx, caller, payment_id)
        payment = payments.lock_of_anyone(tx, payment_id, found.provider)
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
                said = error.said if isinstance(error, ProviderRejected) else error.message
                refused = RefundReport(
                    "", refund.id, refund.payment_id, refund.amount_micros, State.FAILED, failure_message=said
                )
                self._settle(refund, None, refused)
            raise
        return self._settle(refund, report.external_id, report)

    def _settle(self, refund: Refund, external_id: str | None, report: RefundReport) -> Refund:
        with self._db.transaction() as tx:
            payment, current = self._locked(tx, refund)
            # News may have been faster: what the provider has was not refused.
            if external_id is None and not current.is_unsent:
                return current
            return self._tell(tx, payment, current, external_id, State(report.state), report)

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
        self, tx: Transaction, payment: Payment, before: Refund, external_id: str | None, state: State,
        report: RefundReport,
    ) -> Refund:  # fmt: skip
        """Books what is new, of a refund whose payment is locked."""
        now = self._clock.now()
        details = Details(
            amount_micros=report.amount_micros,
            returned_micros=report.returned_micros,
            pending_reason=report.pending_reason,
            is_current=report.is_current,
        )
        after = before.apply(external_id, state, report.failure_message, now, details)
        if after == before:
            return before
        store.save(tx, after)
        if after.state is not before.state or after.came_back_micros != before.came_back_micros:
            balances = ledger.lock(tx, after.touched_since(before))
            ledger.post(tx, after.moves_since(before, balances), self._ids)
            _log.warning("refund_changed", refund=str(after.id), state=after.state, message=after.failure_message)
            self._requests.follow_in(tx, payment, after.id, has_failed=after.state is State.FAILED)
        if delta_micros := after.going_micros - before.going_micros:
            self._payments.change_in(tx, payment, payment.refunding(delta_micros, now))
        return after

    def _add_elsewhere(self, tx: Transaction, payment: Payment, report: RefundReport) -> None:
        """One that was made at the provider: the money has gone, unless it has come back already."""
        now = self._clock.now()
        is_back = report.state == State.FAILED
        provider = self._providers.get(payment.provider)
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
            followed_until=now + provider.refunds_followed_for if provider and not is_back else None,
            created_at=now,
            updated_at=now,
        )
        _log.warning("refund_elsewhere", refund=str(refund.id), payment=str(payment.id), external_id=report.external_id)
        store.add(tx, refund, self._first_asked_at(refund))
        if not is_back:
            ledger.post(tx, refund.taken(ledger.lock(tx, refund.accounts)), self._ids)
            self._payments.change_in(tx, payment, payment.refunding(refund.amount_micros, now))
            self._requests.follow_in(tx, payment, refund.id, has_failed=False)
