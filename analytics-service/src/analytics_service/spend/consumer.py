"""Spend events from the bus."""

from collections.abc import Sequence

from adplatform.events.v1.events_pb2 import Event

from analytics_service.tables import SPEND
from analytics_service.warehouse.model import Warehouse


class SpendConsumer:
    """Inserts posted spend and skips the topic's other events. A redelivered batch inserts nothing."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def handle(self, payloads: Sequence[bytes]) -> None:
        """Stores the batch; the bus acknowledges it only after this returns."""
        events = [Event.FromString(payload) for payload in payloads]
        self._warehouse.insert(SPEND, [event for event in events if event.HasField("spend_posted")])
