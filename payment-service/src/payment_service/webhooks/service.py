"""Receives providers' events: each is stored and booked once, in one transaction, in any order of arrival."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import islice

from adlib.clock import Clock
from adlib.db import Database, Transaction
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.providers.model import ProviderEvent, ProviderNotAvailable
from payment_service.providers.protocol import Header, ListsMissedEvents, ReadsWebhooks
from payment_service.webhooks import store
from payment_service.webhooks.consumer import UpdateConsumer

# An event may be listed later than its own time.
_CATCH_UP_OVERLAP = timedelta(minutes=5)
_FIRST_CATCH_UP_PERIOD = timedelta(days=1)
_MAX_CATCH_UP_S = 3.0
_CATCH_UP_BATCH = 100
_log = logger(__name__)


class WebhookService:
    """Receives webhooks, and catches up on missed ones.

    Events about unknown objects are stored too, so that providers do not send them again.
    """

    def __init__(
        self,
        db: Database,
        webhooks: Mapping[str, ReadsWebhooks],
        missed_events: Mapping[str, ListsMissedEvents],
        consumer: UpdateConsumer,
        clock: Clock,
    ) -> None:
        self._db = db
        self._webhooks = webhooks
        self._missed_events = missed_events
        self._consumer = consumer
        self._clock = clock

    def receive(self, provider: str, body: bytes, header: Header) -> None:
        """Stores the event and books its updates, once; SIGNATURE_INVALID, UNAVAILABLE."""
        webhooks = self._webhooks.get(provider)
        if webhooks is None:
            raise ProviderNotAvailable(provider, ", ".join(sorted(self._webhooks)))
        webhooks.verify(body, header)
        self._record(provider, webhooks.parse(body), body)

    @property
    def sources(self) -> Sequence[str]:
        """The providers that `catch_up` accepts."""
        return sorted(self._missed_events)

    def catch_up(self, provider: str) -> None:
        """Records the events whose webhooks were missed since the last call; UNAVAILABLE.

        After three seconds it stops; the next call resumes where it stopped.
        """
        started_at = self._clock.now()
        reached = store.cursor(self._db, provider) or started_at - _FIRST_CATCH_UP_PERIOD
        try:
            missed = iter(self._missed_events[provider].missed_events(reached - _CATCH_UP_OVERLAP))
            # The limit starts after the listing, because some providers list all events in one slow call.
            end = time.monotonic() + _MAX_CATCH_UP_S
            while True:
                batch = list(islice(missed, _CATCH_UP_BATCH))
                known = store.known(self._db, provider, [event.id for event in batch])
                for event in batch:
                    if event.id not in known:
                        self._record(provider, self._parsed(provider, event), event.body)
                    reached = max(reached, event.at or reached)
                if len(batch) < _CATCH_UP_BATCH:
                    reached = started_at
                if len(batch) < _CATCH_UP_BATCH or time.monotonic() > end:
                    break
        finally:
            with self._db.transaction() as tx:
                store.advance_cursor(tx, provider, reached)

    def unbooked(self, limit: int) -> Sequence[tuple[str, str]]:
        """Provider and id of events that were stored and could not be booked."""
        return store.unbooked(self._db, self._webhooks, limit)

    def book(self, provider: str, event_id: str) -> None:
        """Books a stored event unless it is booked; raises any error of parsing and booking."""
        # Recorded first, in its own transaction, so that an event that always fails does not block the others.
        with self._db.transaction() as tx:
            body = store.record_attempt(tx, provider, event_id, self._clock.now())
        if body is None:
            return
        event = self._webhooks[provider].parse(body)
        with self._db.transaction() as tx:
            if store.lock_unbooked(tx, provider, event_id):
                self._book(tx, provider, event)
                store.mark_booked(tx, provider, event_id, self._clock.now())

    def _parsed(self, provider: str, event: ProviderEvent) -> ProviderEvent:
        """The event with its updates, or unchanged if it cannot be parsed: later events must not wait. UNAVAILABLE."""
        if event.updates is not None:
            return event
        try:
            return self._webhooks[provider].parse(event.body)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - the event is stored, and `book` parses it again
            _log.error("webhook_not_parsed", provider=provider, event_id=event.id, kind=event.kind, exc_info=True)
            return event

    def _record(self, provider: str, event: ProviderEvent, body: bytes) -> None:
        now = self._clock.now()
        with self._db.transaction() as tx:
            is_new = store.add(tx, provider, event.id, event.kind, body, now)
            if is_new and event.updates is not None and self._try_to_book(tx, provider, event):
                store.mark_booked(tx, provider, event.id, now)

    def _try_to_book(self, tx: Transaction, provider: str, event: ProviderEvent) -> bool:
        """Books the event's updates; False if that fails: nothing is changed, and the event stays stored for `book`."""
        callbacks = len(tx.after_commit)
        try:
            with tx.savepoint():
                self._book(tx, provider, event)
        except Exception:  # noqa: BLE001 - the event must not be lost; if the database failed, so does the commit, and the provider sends it again
            del tx.after_commit[callbacks:]
            _log.error("webhook_not_booked", provider=provider, event_id=event.id, kind=event.kind, exc_info=True)
            return False
        return True

    def _book(self, tx: Transaction, provider: str, event: ProviderEvent) -> None:
        for update in event.updates or ():
            if not self._consumer.apply_in(tx, provider, update):
                _log.warning("webhook_of_unknown", provider=provider, event_id=event.id, kind=event.kind)
