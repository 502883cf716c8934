"""Opens payments at their providers: at once, or later by the task queue if a provider does not respond."""

from uuid import UUID

import grpc

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import AppError
from payment_service.bookings.service import PaymentBooking
from payment_service.payments import store
from payment_service.payments.model import Payment, State
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import ProviderRejected
from payment_service.providers.service import Providers
from payment_service.task_queue.store import TaskQueue

OPEN_PAYMENT = "open-payment"


class PaymentOpener:
    """Opens payments that have no provider id yet: those never opened, and those whose response was lost."""

    def __init__(
        self,
        db: Database,
        providers: Providers,
        payments: PaymentRecords,
        booking: PaymentBooking,
        queue: TaskQueue,
        clock: Clock,
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._booking = booking
        self._queue = queue
        self._clock = clock

    def open_now(self, payment: Payment) -> Payment:
        """Opens the payment while its client waits; queues it if the provider does not respond. PROVIDER_REJECTED."""
        try:
            provider = self._providers.get(payment.provider)
            with self._providers.acquire(payment.provider):
                report = provider.open(payment)
        except ProviderRejected as rejection:
            self._reject(payment, rejection.provider_message)
            raise
        except AppError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            return self._queue_opening(payment)
        return self._booking.settle(payment.id, payment.provider, report) or payment

    def open(self, payment_id: UUID) -> None:
        """Opens a queued payment, unless it has been opened since; UNAVAILABLE."""
        payment = store.get_any_tenant(self._db, payment_id)
        if payment and payment.is_open and payment.external_id is None:
            try:
                report = self._providers.get(payment.provider).open(payment)
            except ProviderRejected as rejection:
                self._reject(payment, rejection.provider_message)
            else:
                self._booking.settle(payment.id, payment.provider, report)

    def expire(self, payment: Payment) -> None:
        """Closes a payment that was never opened and so cannot have been paid."""
        with self._db.transaction() as tx:
            before = store.lock_any_tenant(tx, payment.id, payment.provider)
            if before and before.external_id is None and before.is_open:
                self._payments.save(tx, before, before.expired_unopened(self._clock.now()))

    def _queue_opening(self, payment: Payment) -> Payment:
        """Queues the payment, unless it was opened and only the response was lost."""
        with self._db.transaction() as tx:
            before = store.lock_any_tenant(tx, payment.id, payment.provider)
            if before is None or not before.is_open or before.external_id is not None:
                return before or payment
            self._queue.add(tx, OPEN_PAYMENT, payment.id)
            reason = self._providers.no_response_reason(before)
            return self._payments.save(tx, before, before.waiting(reason, self._clock.now()))

    def _reject(self, payment: Payment, message: str) -> None:
        with self._db.transaction() as tx:
            before = store.lock_any_tenant(tx, payment.id, payment.provider)
            if before and before.external_id is None and before.state is State.PENDING:
                self._payments.save(tx, before, before.rejected(message, self._clock.now()))
