"""Creates refunds, and books provider reports about them.

A refund's amount is reserved in the transaction that creates it; then the provider is called, which is safe to
repeat; then the provider's response is booked. The task queue resumes a refund whose call was interrupted. A refund
that staff sent by hand is verified at the provider before anything is booked. Payments are locked before accounts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

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
from payment_service.ledger.model import Account
from payment_service.payments import store as payment_store
from payment_service.payments.model import CurrencyMismatch, Payment, PaymentStateInvalid
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import ManualRefund, ProviderRejected, RefundReport
from payment_service.providers.service import Providers
from payment_service.refund_requests.service import RefundRequestService
from payment_service.refunds import store
from payment_service.refunds.model import Details, Refund, State
from payment_service.task_queue.store import TaskQueue

SEND_REFUND = "send-refund"

# The call that creates the refund has ended by then.
_QUEUE_DELAY = timedelta(seconds=15)
# An older refund may need several calls to its provider, which must not hold up the client.
_MAX_SYNC_AGE = timedelta(hours=1)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class NewRefund:
    """A request to refund a payment; without an amount, all that is neither refunded nor disputed."""

    payment_id: UUID
    amount_micros: int | None
    currency_code: str
    reason: str
    sent_as: str


class RefundBooking:
    """Books refunds and the changes of their state; every method runs in the caller's transaction."""

    def __init__(
        self,
        providers: Providers,
        payments: PaymentRecords,
        requests: RefundRequestService,
        queue: TaskQueue,
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._providers = providers
        self._payments = payments
        self._requests = requests
        self._queue = queue
        self._clock = clock
        self._ids = ids

    def add_in(
        self,
        tx: Transaction,
        payment: Payment,
        refund: Refund,
        seen: ManualRefund | None,
        balances: Mapping[Account, int],
    ) -> Refund:
        """Stores a new refund of the locked payment and queues it; one that the provider has `seen` was sent by staff.

        `balances`: the locked balances of the refund's accounts.
        """
        if seen is None:
            store.add(tx, refund, self._first_poll_at(refund))
            ledger.post(tx, refund.reservation(), self._ids)
            self._queue.add(tx, SEND_REFUND, refund.id, at=refund.created_at + _QUEUE_DELAY)
        else:
            if seen.amount_micros != refund.amount_micros:
                raise Aborted("what is left of the payment has changed meanwhile; try again")
            refund = replace(refund, state=State.SUCCEEDED, external_id=seen.external_id)
            if manual := self._providers.refunds(refund.provider).manual:
                manual.claim(tx, refund.id, seen)
            store.add(tx, refund, self._first_poll_at(refund))
            ledger.post(tx, refund.outgoing(balances), self._ids)
        self._payments.save(tx, payment, payment.refunding(refund.amount_micros, refund.created_at))
        self._requests.update_in(tx, payment, refund.id, has_failed=False)
        return refund

    def settle_in(self, tx: Transaction, provider: str, report: RefundReport) -> bool:
        """Books the report; False if the payment is unknown or has another currency.

        Repeated and outdated reports change nothing.
        """
        payment = payment_store.lock_any_tenant(tx, report.payment_id, provider)
        if payment is None or report.currency_code not in ("", payment.currency_code):
            return False
        refund = store.get_any_tenant(tx, report.refund_id) if report.refund_id else None
        if refund is None or refund.payment_id != payment.id:
            refund = store.get_by_external_id_any_tenant(tx, provider, report.external_id)
        if refund is None:
            self._add_external_in(tx, payment, report)
        else:
            self.apply_in(tx, payment, refund, report, report.external_id)
        return True

    def apply_in(
        self, tx: Transaction, payment: Payment, before: Refund, report: RefundReport, external_id: str | None
    ) -> Refund:
        """Books the report of a refund whose payment is locked; `external_id` is None if the provider assigned none."""
        now = self._clock.now()
        details = Details(
            amount_micros=report.amount_micros,
            returned_micros=report.returned_micros,
            pending_reason=report.pending_reason,
            is_current=report.is_current,
        )
        after = before.apply(external_id, State(report.state), report.failure_message, now, details)
        if after == before:
            return before
        store.save(tx, after)
        if after.state is not before.state or after.total_returned_micros != before.total_returned_micros:
            balances = ledger.lock(tx, after.accounts_changed_since(before))
            ledger.post(tx, after.transfers_since(before, balances), self._ids)
            _log.warning("refund_changed", refund=str(after.id), state=after.state, message=after.failure_message)
            self._requests.update_in(tx, payment, after.id, has_failed=after.state is State.FAILED)
        if delta_micros := after.net_micros - before.net_micros:
            self._payments.save(tx, payment, payment.refunding(delta_micros, now))
        return after

    def _add_external_in(self, tx: Transaction, payment: Payment, report: RefundReport) -> None:
        """Stores a refund made at the provider itself, and books it unless it was returned already."""
        now = self._clock.now()
        is_returned = report.state == State.FAILED
        provider = self._providers.find_refunds(payment.provider)
        refund = Refund(
            id=self._ids(),
            payment_id=payment.id,
            organization_id=payment.organization_id,
            provider=payment.provider,
            amount_micros=report.amount_micros,
            currency_code=payment.currency_code,
            state=State.FAILED if is_returned else State.SUCCEEDED,
            external_id=report.external_id,
            reason="",
            sent_as="",
            asked_by=None,
            failure_message=report.failure_message,
            followed_until=now + provider.refund_poll_period if provider and not is_returned else None,
            created_at=now,
            updated_at=now,
        )
        _log.warning("refund_external", refund=str(refund.id), payment=str(payment.id), external_id=report.external_id)
        store.add(tx, refund, self._first_poll_at(refund))
        if not is_returned:
            ledger.post(tx, refund.outgoing(ledger.lock(tx, refund.accounts)), self._ids)
            self._payments.save(tx, payment, payment.refunding(refund.amount_micros, now))
            self._requests.update_in(tx, payment, refund.id, has_failed=False)

    def _first_poll_at(self, refund: Refund) -> datetime | None:
        provider = self._providers.find_refunds(refund.provider)
        return refund.created_at + provider.first_refund_poll_after if provider else None


class RefundService:
    """Creates and lists refunds; `send_now` sends one to its provider while the client waits."""

    def __init__(
        self,
        db: Database,
        providers: Providers,
        payments: PaymentRecords,
        booking: RefundBooking,
        send_now: Callable[[Refund], Refund],
        clock: Clock,
        ids: NewId,
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._booking = booking
        self._send_now = send_now
        self._clock = clock
        self._ids = ids

    def refund(self, caller: Caller, new: NewRefund, idempotency: Idempotency[Refund, pb.Refund]) -> Refund:
        """Creates the refund and sends it to its provider, or queues it if the provider does not respond.

        A repeat resumes the first refund. The errors are those of RefundPayment in the contract, PROVIDER_REJECTED.
        """
        seen_by_provider = self._check_once(caller, new, idempotency)
        with self._db.transaction() as tx:
            first = idempotency.replay(tx)
            refund = store.get_any_tenant(tx, UUID(first.id)) if first else None
            if refund is None:
                refund = self._create_in(tx, caller, new, seen_by_provider)
                idempotency.record(tx, refund)
        if refund.is_rejected:
            raise ProviderRejected(refund.failure_message)
        if not refund.is_unsent or self._clock.now() - refund.created_at > _MAX_SYNC_AGE:
            return refund
        return self._send_now(refund)

    def list_page(self, organization_id: UUID, payment_id: UUID, part: Page) -> Slice[Refund]:
        """The refunds of the organization's payment, newest first; PAYMENT_NOT_FOUND."""
        self._payments.get(self._db, organization_id, payment_id)
        return cut(store.page(self._db, organization_id, payment_id, part), part, lambda refund: refund.id)

    def _check_once(
        self, caller: Caller, new: NewRefund, idempotency: Idempotency[Refund, pb.Refund]
    ) -> ManualRefund | None:
        if idempotency.stored_answer(self._db):
            return None
        try:
            return self._check(caller, new)
        except AppError:
            # A concurrent call with the same key may have created the refund, which makes this check fail.
            if idempotency.stored_answer(self._db):
                return None
            raise

    def _check(self, caller: Caller, new: NewRefund) -> ManualRefund | None:
        """Checks the request before anything is stored; the refund at the provider if staff sent it by hand."""
        payment = self._get(self._db, caller, new.payment_id)
        refund = self._new(self._db, caller, new, payment)
        available, *_ = refund.accounts
        self._check_amount(refund, payment, new, ledger.available(self._db, refund.accounts)[available])
        with self._providers.acquire(payment.provider):
            manual = self._providers.refunds(payment.provider).manual
            return manual.find(payment, refund.amount_micros, new.sent_as) if manual else None

    def _create_in(self, tx: Transaction, caller: Caller, new: NewRefund, seen: ManualRefund | None) -> Refund:
        payment = self._get(tx, caller, new.payment_id)
        payment = self._payments.lock_any_tenant(tx, payment.id)
        refund = self._new(tx, caller, new, payment)
        balances = ledger.lock(tx, refund.accounts)
        available, *_ = refund.accounts
        self._check_amount(refund, payment, new, balances[available])
        return self._booking.add_in(tx, payment, refund, seen, balances)

    def _new(self, db: Session, caller: Caller, new: NewRefund, payment: Payment) -> Refund:
        """The requested refund, not yet stored; the errors of a payment that cannot be refunded."""
        if new.currency_code not in ("", payment.currency_code):
            raise CurrencyMismatch(payment.currency_code)
        if not payment.paid_micros or disputes.has_open(db, payment.organization_id, payment.id):
            raise PaymentStateInvalid(payment.id, payment.state, "refunded")
        now = self._clock.now()
        return Refund(
            id=self._ids(),
            payment_id=payment.id,
            organization_id=payment.organization_id,
            provider=payment.provider,
            amount_micros=payment.net_paid_micros if new.amount_micros is None else new.amount_micros,
            currency_code=payment.currency_code,
            state=State.PENDING,
            external_id=None,
            reason=new.reason,
            sent_as=new.sent_as,
            asked_by=caller.user_id,
            followed_until=now + self._providers.refunds(payment.provider).refund_poll_period,
            created_at=now,
            updated_at=now,
        )

    @staticmethod
    def _check_amount(refund: Refund, payment: Payment, new: NewRefund, available_micros: int) -> None:
        """REFUND_TOO_LARGE, and INVALID_FIELD for a fraction of a minor unit."""
        payment.check_refundable(refund.amount_micros, available_micros)
        if new.amount_micros is not None:
            to_minor(new.amount_micros, payment.currency_code)

    def _get(self, db: Session, caller: Caller, payment_id: UUID) -> Payment:
        """The payment of any organization for staff, of the caller's for others; PAYMENT_NOT_FOUND."""
        if caller.is_staff:
            return self._payments.get_any_tenant(db, payment_id)
        return self._payments.get(db, caller.organization_id, payment_id)
