"""Tracking events from the bus."""

from collections.abc import Sequence

from adplatform.events.v1.events_pb2 import TrackingEvent

from analytics_service.tables import EVENTS
from analytics_service.warehouse.model import Warehouse


class TrackingConsumer:
    """Inserts impressions, clicks and conversions. A redelivered batch inserts nothing."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def handle(self, payloads: Sequence[bytes]) -> None:
        """Stores the batch; the bus acknowledges it only after this returns."""
        self._warehouse.insert(EVENTS, [TrackingEvent.FromString(payload) for payload in payloads])
