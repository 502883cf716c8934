"""What providers tell us: stored and booked in one transaction, idempotency, in whatever order it comes."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import assert_never

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.bookings.service import PaymentBooking
from payment_service.disputes.service import DisputeService
from payment_service.payouts.service import PayoutService
from payment_service.providers.model import ProviderNotAvailable
from payment_service.providers.protocol import (
    DisputeReport,
    Event,
    Header,
    PaymentUpdate,
    PayoutReport,
    ProviderUpdate,
    RefundReport,
    ReversalReport,
    UnmatchedFunds,
)
from payment_service.refunds.service import RefundBooking
from payment_service.webhooks import store
from payment_service.webhooks.sources import Source

# An event may be seen later than its own time says.
_OVERLAP = timedelta(minutes=5)
_FIRST_LOOK = timedelta(days=1)
_BUDGET_S = 3.0
# Of what is asked for again, so many at once are found to be known.
_BATCH = 100
_log = logger(__name__)


class WebhookService:
    """Receives events. What is not for us is stored and left alone, so that nobody sends it again."""

    def __init__(
        self,
        db: Database,
        sources: Mapping[str, Source],
        payments: PaymentBooking,
        refunds: RefundBooking,
        disputes: DisputeService,
        payouts: PayoutService,
        clock: Clock,
    ) -> None:
        self._db = db
        self._sources = sources
        self._payments = payments
        self._refunds = refunds
        self._disputes = disputes
        self._payouts = payouts
        self._clock = clock

    def receive(self, provider: str, body: bytes, header: Header) -> None:
        """Stores the event and books what it says, once; SIGNATURE_INVALID, UNAVAILABLE."""
        source = self._sources.get(provider)
        if source is None:
            raise ProviderNotAvailable(provider, ", ".join(sorted(self._sources)))
        self._take(provider, source.event(body, header), body)

    @property
    def sources(self) -> Sequence[str]:
        """Whom `catch_up` can ask."""
        return sorted(self._sources)

    def catch_up(self, provider: str) -> None:
        """Takes what webhooks may have missed since the last time, as if they came now; UNAVAILABLE.

        What there is no time for is for the next time.
        """
        began = self._clock.now()
        reached = store.cursor(self._db, provider) or began - _FIRST_LOOK
        try:
            missed = iter(self._sources[provider].missed(reached - _OVERLAP))
            # Not of the time that one may take that tells all at once.
            end = time.monotonic() + _BUDGET_S
            while True:
                batch = list(islice(missed, _BATCH))
                known = store.known(self._db, provider, [event.id for event in batch])
                for event in batch:
                    if event.id not in known:
                        self._take(provider, self._read(provider, event), event.body)
                    reached = max(reached, event.at or reached)
                if len(batch) < _BATCH:
                    reached = began
                if len(batch) < _BATCH or time.monotonic() > end:
                    break
        finally:
            with self._db.transaction() as tx:
                store.reached(tx, provider, reached)

    def unbooked(self, limit: int) -> Sequence[tuple[str, str]]:
        """Provider and id of events that were stored, and could not be booked."""
        return store.unbooked(self._db, self._sources, limit)

    def book(self, provider: str, event_id: str) -> None:
        """Books a stored event, unless that is done; whatever it fails by."""
        # First, so that one that always fails does not keep the others from their turn.
        with self._db.transaction() as tx:
            body = store.tried(tx, provider, event_id, self._clock.now())
        if body is None:
            return
        event = self._sources[provider].read(body)
        with self._db.transaction() as tx:
            if store.lock_unbooked(tx, provider, event_id):
                self._book_all(tx, provider, event)
                store.booked(tx, provider, event_id, self._clock.now())

    def _read(self, provider: str, event: Event) -> Event:
        """With its news, or as it is where it cannot be read: there are others after it. UNAVAILABLE."""
        if event.news is not None:
            return event
        try:
            return self._sources[provider].read(event.body)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the event is stored for `book`
            _log.error("webhook_unread", provider=provider, event_id=event.id, kind=event.kind, exc_info=True)
            return event

    def _take(self, provider: str, event: Event, body: bytes) -> None:
        now = self._clock.now()
        with self._db.transaction() as tx:
            is_new = store.first_time(tx, provider, event.id, event.kind, body, now)
            if is_new and event.news is not None and self._is_booked(tx, provider, event):
                store.booked(tx, provider, event.id, now)

    def _is_booked(self, tx: Transaction, provider: str, event: Event) -> bool:
        """Books the event, or leaves everything as it is: then it stays stored, for `book`."""
        called_after = len(tx.after_commit)
        try:
            with tx.savepoint():
                self._book_all(tx, provider, event)
        except Exception:  # noqa: BLE001 - whatever it is, the event must not be lost; where it is the database that is gone, the commit fails and the provider sends it again
            del tx.after_commit[called_after:]
            _log.error("webhook_unbooked", provider=provider, event_id=event.id, kind=event.kind, exc_info=True)
            return False
        return True

    def _book_all(self, tx: Transaction, provider: str, event: Event) -> None:
        for news in event.news or ():
            if not self._book(tx, provider, news):
                _log.warning("webhook_of_unknown", provider=provider, event_id=event.id, kind=event.kind)

    def _book(self, tx: Transaction, provider: str, news: ProviderUpdate) -> bool:
        """Whether it is about something of ours."""
        match news:
            case PaymentUpdate():
                return self._payments.settle_in(tx, news.payment_id, provider, news.report) is not None
            case RefundReport():
                return self._refunds.settle_in(tx, provider, news)
            case DisputeReport():
                return self._disputes.settle_in(tx, provider, news)
            case PayoutReport():
                return self._payouts.settle_in(tx, news.transfer_id, news.state, news.reason, news.returned_micros)
            case UnmatchedFunds():
                self._payments.suspend_in(tx, provider, news.arrival)
            case ReversalReport():
                self._payments.reverse_in(tx, provider, news.key, news.recall)
            case _:
                assert_never(news)
        return True
