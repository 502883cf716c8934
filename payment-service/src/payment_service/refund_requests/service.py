"""Records customers' refund requests, and updates them when staff refund. Locks the payment before its requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.payment.v1 import refund_requests_pb2 as pb

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.idempotency import Idempotency
from adlib.ids import NewId
from adlib.money import to_minor
from adlib.paging import Page, Slice, cut
from adlib.rpc import Caller
from payment_service.disputes import store as disputes
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Wallet
from payment_service.payments import store as payments
from payment_service.payments.model import Payment, PaymentNotFound, PaymentStateInvalid
from payment_service.refund_requests import store
from payment_service.refund_requests.model import RefundAlreadyRequested, RefundRequest, RefundRequestNotFound, State


@dataclass(frozen=True, slots=True)
class NewRefundRequest:
    """A customer's request; without an amount, everything that can be refunded."""

    payment_id: UUID
    amount_micros: int | None
    reason: str


class RefundRequestService:
    """The use cases of refund requests."""

    def __init__(self, db: Database, clock: Clock, ids: NewId) -> None:
        self._db = db
        self._clock = clock
        self._ids = ids

    def request(
        self, caller: Caller, new: NewRefundRequest, idempotency: Idempotency[RefundRequest, pb.RefundRequest]
    ) -> RefundRequest:
        """Records the request; a repeat returns the first. The errors are those of RequestRefund in the contract."""
        with self._db.transaction() as tx:
            if seen := idempotency.replay(tx):
                return self._lock(tx, caller.organization_id, UUID(seen.id))
            payment = self._lock_payment(tx, caller.organization_id, new.payment_id)
            if known := store.lock_open(tx, payment.organization_id, payment.id):
                raise RefundAlreadyRequested(known.id)
            now = self._clock.now()
            request = RefundRequest(
                id=self._ids(),
                payment_id=payment.id,
                organization_id=payment.organization_id,
                amount_micros=self._amount_micros(tx, payment, new.amount_micros),
                currency_code=payment.currency_code,
                state=State.REQUESTED,
                reason=new.reason,
                asked_by=caller.user_id,
                created_at=now,
                updated_at=now,
            )
            store.add(tx, request)
            idempotency.record(tx, request)
            return request

    def withdraw(self, organization_id: UUID, request_id: UUID) -> RefundRequest:
        """Withdraws an open request; REFUND_REQUEST_NOT_FOUND, REFUND_REQUEST_CLOSED."""
        with self._db.transaction() as tx:
            withdrawn = self._lock(tx, organization_id, request_id).withdrawn(self._clock.now())
            store.save(tx, withdrawn)
            return withdrawn

    def decline(self, caller: Caller, request_id: UUID, reason: str) -> RefundRequest:
        """Declines an open request of any organization; REFUND_REQUEST_NOT_FOUND, REFUND_REQUEST_CLOSED.

        Only for staff: other callers see no request.
        """
        with self._db.transaction() as tx:
            request = store.lock_any_tenant(tx, request_id) if caller.is_staff else None
            if request is None:
                raise RefundRequestNotFound(request_id)
            declined = request.declined(reason, self._clock.now())
            store.save(tx, declined)
            return declined

    def list_open(self, caller: Caller, part: Page) -> Slice[RefundRequest]:
        """The open requests of all organizations, newest first; none for callers who are not staff."""
        rows = store.open_any_tenant(self._db, part) if caller.is_staff else []
        return cut(rows, part, lambda request: request.id)

    def of_payment(self, organization_id: UUID, payment_id: UUID) -> Sequence[RefundRequest]:
        """The newest requests for the organization's payment, newest first."""
        return store.of_payment(self._db, organization_id, payment_id)

    def update_in(self, tx: Transaction, payment: Payment, refund_id: UUID, *, has_failed: bool) -> None:
        """Accepts the locked payment's open request with the refund, or reopens it if the refund has failed."""
        now = self._clock.now()
        current = store.lock_open(tx, payment.organization_id, payment.id)
        if not has_failed:
            if current:
                store.save(tx, current.accepted(refund_id, now))
            return
        accepted = store.lock_of_refund(tx, payment.organization_id, refund_id)
        if accepted and current is None:
            store.save(tx, accepted.reopened(now))

    @staticmethod
    def _lock_payment(tx: Transaction, organization_id: UUID, payment_id: UUID) -> Payment:
        """The organization's payment, locked; PAYMENT_NOT_FOUND, PAYMENT_STATE_INVALID if it cannot be refunded."""
        found = payments.get(tx, organization_id, payment_id)
        payment = found and payments.lock_any_tenant(tx, payment_id, found.provider)
        if payment is None:
            raise PaymentNotFound(payment_id)
        if not payment.paid_micros or disputes.has_open(tx, organization_id, payment_id):
            raise PaymentStateInvalid(payment.id, payment.state, "refunded")
        return payment

    @staticmethod
    def _amount_micros(tx: Transaction, payment: Payment, requested_micros: int | None) -> int:
        """The requested amount, or everything that can be refunded; REFUND_TOO_LARGE."""
        available = Wallet(payment.organization_id, payment.currency_code).available
        available_micros = ledger.lock(tx, [available])[available]
        amount_micros = payment.refundable_micros(available_micros) if requested_micros is None else requested_micros
        payment.check_refundable(amount_micros, available_micros)
        if requested_micros is not None:
            to_minor(requested_micros, payment.currency_code)
        return amount_micros

    @staticmethod
    def _lock(tx: Transaction, organization_id: UUID, request_id: UUID) -> RefundRequest:
        request = store.lock(tx, organization_id, request_id)
        if request is None:
            raise RefundRequestNotFound(request_id)
        return request
