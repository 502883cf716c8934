"""Polls providers about sent refunds until these are final, and finds refunds that the task queue gave up on."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from payment_service.payments.service import PaymentRecords
from payment_service.providers.model import SentRefund
from payment_service.providers.service import Providers
from payment_service.refunds import store
from payment_service.refunds.service import RefundBooking

# The task queue gives up after this time.
_ABANDONED_AFTER = timedelta(days=3)
# A refund is polled again after a quarter of its age, and at least every six hours: most returns happen early.
_POLL_AGE_DIVISOR = 4
_MAX_POLL_INTERVAL = timedelta(hours=6)


class RefundPoll:
    """Follows refunds at their providers."""

    def __init__(
        self, db: Database, providers: Providers, payments: PaymentRecords, booking: RefundBooking, clock: Clock
    ) -> None:
        self._db = db
        self._providers = providers
        self._payments = payments
        self._booking = booking
        self._clock = clock

    def abandoned(self, limit: int) -> Sequence[UUID]:
        """Unsent refunds that the task queue has given up on."""
        return store.unsent_any_tenant(self._db, self._clock.now() - _ABANDONED_AFTER, limit)

    def due(self, limit: int) -> Sequence[UUID]:
        """Sent refunds that are not final and are due to be polled."""
        return store.due_to_poll_any_tenant(self._db, self._providers.names, self._clock.now(), limit)

    def check(self, refund_id: UUID) -> None:
        """Asks the provider for the refund's state and books it; finalizes the refund once it cannot change."""
        refund = store.get_any_tenant(self._db, refund_id)
        if refund is None or refund.external_id is None or refund.followed_until is None:
            return
        now = self._clock.now()
        interval = min((now - refund.created_at) / _POLL_AGE_DIVISOR, _MAX_POLL_INTERVAL)
        # Recorded first, so that a refund that always fails does not block the others.
        with self._db.transaction() as tx:
            store.poll_at_any_tenant(tx, refund_id, now + interval)
        sent = SentRefund(refund.id, refund.payment_id, refund.external_id, refund.amount_micros)
        report = self._providers.refunds(refund.provider).look_up_refund(sent)
        with self._db.transaction() as tx:
            locked = self._payments.lock_any_tenant(tx, refund.payment_id)
            current = store.get_any_tenant(tx, refund_id)
            if current is None:
                return
            self._booking.apply_in(tx, locked, current, report, report.external_id)
            if report.is_final or now >= refund.followed_until:
                store.finalize_any_tenant(tx, refund_id)
