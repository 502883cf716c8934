"""Turns what was collected into tracking events."""

from collections import Counter
from collections.abc import Sequence

import prometheus_client
from adplatform.events.v1.events_pb2 import TrackingEvent

from adlib.bus import Bus
from adlib.clock import Clock
from adlib.db import Database
from pixel_service.enricher import store
from pixel_service.enricher.model import Reading, Rejected

_rejected = prometheus_client.Counter(
    "pixel_rejected_total", "Tracking requests that are no event, by reason", ["reason"]
)


class Enricher:
    """Handles topic "collected". An event has its request's id, so taking a request twice does no harm."""

    def __init__(self, reading: Reading, bus: Bus, db: Database, clock: Clock) -> None:
        self._reading = reading
        self._bus = bus
        self._db = db
        self._clock = clock

    def handle(self, messages: Sequence[bytes]) -> None:
        """Publishes the events and counts the rest; a request that comes again after a crash is counted again."""
        read = [self._reading.read(message) for message in messages]
        events = [event.SerializeToString() for event in read if isinstance(event, TrackingEvent)]
        if events:
            self._bus.publish("events", events)
        reasons = Counter(sorted(one.reason for one in read if isinstance(one, Rejected)))
        if reasons:
            day = self._clock.now().date()
            with self._db.transaction() as tx:
                for reason, times in reasons.items():
                    store.count(tx, day, reason, times)
            for reason, times in reasons.items():
                _rejected.labels(reason).inc(times)
