"""Sends refunds to their providers: at once, or later by the task queue if a provider does not respond."""

from uuid import UUID

import grpc

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.payments import store as payment_store
from payment_service.payments.model import Payment, PaymentNotFound
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import ProviderRejected, RefundOrder, RefundReport
from payment_service.providers.service import Providers
from payment_service.refunds import store
from payment_service.refunds.model import Refund, State
from payment_service.refunds.service import RefundBooking

_NO_RESPONSE = "the payment provider does not answer; we keep trying"
# Every other error of a provider is a rejection.
_TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)
_log = logger(__name__)


class RefundSender:
    """Sends refunds that their providers do not have yet; each call can be repeated."""

    def __init__(
        self, db: Database, providers: Providers, payments: PaymentRecords, booking: RefundBooking, clock: Clock
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._booking = booking
        self._clock = clock

    def send_now(self, refund: Refund) -> Refund:
        """Sends the refund while its client waits; after a transient error it stays queued. PROVIDER_REJECTED."""
        try:
            return self._send(refund)
        except AppError as error:
            if error.code not in _TRANSIENT:
                raise
            return self._record_no_response(refund)

    def send(self, refund_id: UUID) -> None:
        """Sends a queued refund, unless it has been sent since; UNAVAILABLE, PROVIDER_NOT_AVAILABLE."""
        refund = store.get_any_tenant(self._db, refund_id)
        if refund is None or not refund.is_unsent:
            return
        self._providers.refunds(refund.provider)
        try:
            self._send(refund)
        except AppError as error:
            if error.code in _TRANSIENT:
                self._record_no_response(refund)
                raise

    def _send(self, refund: Refund) -> Refund:
        """Calls the provider and books its response. A rejection is final and releases the reservation."""
        payment = self._payments.get_any_tenant(self._db, refund.payment_id)
        order = RefundOrder(refund.id, refund.amount_micros, refund.sent_as)
        try:
            report = self._providers.refunds(refund.provider).refund(payment, order)
        except AppError as error:
            if error.code not in _TRANSIENT:
                _log.warning("refund_rejected", refund=str(refund.id), error=error.message)
                message = error.provider_message if isinstance(error, ProviderRejected) else error.message
                rejection = RefundReport(
                    "", refund.id, refund.payment_id, refund.amount_micros, State.FAILED, failure_message=message
                )
                self._settle(refund, None, rejection)
            raise
        return self._settle(refund, report.external_id, report)

    def _settle(self, refund: Refund, external_id: str | None, report: RefundReport) -> Refund:
        with self._db.transaction() as tx:
            payment, current = self._lock(tx, refund)
            # A webhook may have arrived first: a refund that the provider has was not rejected.
            if external_id is None and not current.is_unsent:
                return current
            return self._booking.apply_in(tx, payment, current, report, external_id)

    def _record_no_response(self, refund: Refund) -> Refund:
        with self._db.transaction() as tx:
            _, current = self._lock(tx, refund)
            if current.is_unsent:
                current = current.waiting(_NO_RESPONSE, self._clock.now())
                store.save(tx, current)
            return current

    @staticmethod
    def _lock(tx: Transaction, refund: Refund) -> tuple[Payment, Refund]:
        payment = payment_store.lock_any_tenant(tx, refund.payment_id, refund.provider)
        current = store.get_any_tenant(tx, refund.id)
        if payment is None or current is None:
            raise PaymentNotFound(refund.payment_id)
        return payment, current
