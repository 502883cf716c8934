"""Campaign changes from the bus, which keep the landing page of clicks up to date."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event

from adlib.db import Database
from pixel_service.pixels import store


class CampaignConsumer:
    """Handles topic "campaign". A redelivered event changes nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def handle(self, messages: Sequence[bytes]) -> None:
        """Copies each changed campaign's URL to its pixels."""
        events = [event for event in map(Event.FromString, messages) if event.HasField("campaign_changed")]
        if not events:
            return
        with self._db.transaction() as tx:
            # Sorted, so that two transactions lock rows in the same order.
            for event in sorted(events, key=lambda event: event.campaign_changed.campaign.id):
                campaign = event.campaign_changed.campaign
                at = campaign.update_time.ToDatetime(tzinfo=UTC)
                store.set_target_url(tx, UUID(campaign.organization_id), UUID(campaign.id), campaign.target_url, at)
