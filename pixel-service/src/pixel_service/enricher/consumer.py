"""Collected requests from the bus."""

from collections import Counter
from collections.abc import Sequence

import prometheus_client
from adplatform.events.v1.events_pb2 import TrackingEvent

from adlib.bus import Bus
from adlib.clock import Clock
from adlib.db import Database
from pixel_service.enricher import store
from pixel_service.enricher.model import EventParser, Rejected

_rejected = prometheus_client.Counter(
    "pixel_rejected_total", "Tracking requests that did not become an event, by reason", ["reason"]
)


class Enricher:
    """Handles topic "collected". An event has its request's id, so a redelivered request is a duplicate event."""

    def __init__(self, parser: EventParser, bus: Bus, db: Database, clock: Clock) -> None:
        self._parser = parser
        self._bus = bus
        self._db = db
        self._clock = clock

    def handle(self, messages: Sequence[bytes]) -> None:
        """Publishes events and counts rejected requests; a request redelivered after a crash is counted again."""
        parsed = [self._parser.parse(message) for message in messages]
        events = [event.SerializeToString() for event in parsed if isinstance(event, TrackingEvent)]
        if events:
            self._bus.publish("events", events)
        reasons = Counter(sorted(one.reason for one in parsed if isinstance(one, Rejected)))
        if reasons:
            day = self._clock.now().date()
            with self._db.transaction() as tx:
                for reason, count in reasons.items():
                    store.add_rejections(tx, day, reason, count)
            for reason, count in reasons.items():
                _rejected.labels(reason).inc(count)
