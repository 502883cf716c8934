"""Asks providers about open payments whose webhooks may have been missed."""

from collections.abc import Sequence
from datetime import timedelta

from adlib.clock import Clock
from adlib.db import Database
from payment_service.bookings.service import PaymentBooking
from payment_service.checkout.tasks import PaymentOpener
from payment_service.payments import store
from payment_service.payments.model import Payment
from payment_service.providers.service import Providers

_CHECK_INTERVAL = timedelta(minutes=1)


class PaymentPoll:
    """Checks open payments, and closes those that have expired."""

    def __init__(
        self, db: Database, providers: Providers, booking: PaymentBooking, opener: PaymentOpener, clock: Clock
    ) -> None:
        self._db = db
        self._providers = providers
        self._booking = booking
        self._opener = opener
        self._clock = clock

    def due(self, limit: int) -> Sequence[Payment]:
        """Open payments not checked for a minute whose provider has to be polled, or that have expired."""
        now = self._clock.now()
        return store.open_any_tenant(self._db, self._providers.polled, now - _CHECK_INTERVAL, now, limit)

    def check(self, payment: Payment) -> None:
        """Asks the provider for the payment's state and books it; closes an expired payment at the provider."""
        now = self._clock.now()
        # Recorded first, so that a payment that always fails does not block the others.
        with self._db.transaction() as tx:
            store.record_check(tx, payment, now)
        provider = self._providers.get(payment.provider)
        if payment.external_id is None:
            self._opener.expire(payment) if payment.is_abandoned(now) else self._opener.open(payment.id)
        else:
            report = provider.close(payment) if payment.is_abandoned(now) else provider.look_up(payment)
            self._booking.settle(payment.id, payment.provider, report)
