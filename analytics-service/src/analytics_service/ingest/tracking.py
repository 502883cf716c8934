"""Tracking events from the bus into the warehouse, each exactly once."""

from collections.abc import Sequence

from adplatform.events.v1.events_pb2 import TrackingEvent

from analytics_service.warehouse.model import TrackedEvent, Warehouse

TOPIC = "events"
GROUP = "analytics"
BATCH = 5_000


class TrackingIngest:
    """Handles batches of the topic `events`. A batch that comes again adds nothing."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def handle(self, payloads: Sequence[bytes]) -> None:
        """Stores the batch; it is acknowledged only after this returns."""
        self._warehouse.add_events([_row(TrackingEvent.FromString(payload)) for payload in payloads])


def _row(event: TrackingEvent) -> TrackedEvent:
    return TrackedEvent(
        event_id=event.id,
        type=TrackingEvent.Type.Name(event.type),
        time_micros=event.time.ToMicroseconds(),
        organization_id=event.organization_id,
        campaign_id=event.campaign_id,
        pixel_id=event.pixel_id,
        zone_id=event.zone_id,
        click_id=event.click_id,
        goal=event.goal,
        transaction_id=event.transaction_id,
        value_micros=event.value_micros,
        currency_code=event.currency_code,
        visitor_id=event.visitor_id,
        user_agent=event.user_agent,
        referrer=event.referrer,
    )
