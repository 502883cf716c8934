"""Follows campaigns, so that clicks lead to the page that a campaign has now."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from adplatform.events.v1.events_pb2 import Event

from adlib.db import Database
from pixel_service.pixels import store


class CampaignChanges:
    """Handles topic "campaign"; taking an event twice changes nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def handle(self, messages: Sequence[bytes]) -> None:
        """Copies what changed of the campaigns to their pixels."""
        events = [event for event in map(Event.FromString, messages) if event.HasField("campaign_changed")]
        if not events:
            return
        with self._db.transaction() as tx:
            # In one order, so that two transactions do not wait for each other.
            for event in sorted(events, key=lambda event: event.campaign_changed.campaign.id):
                campaign = event.campaign_changed.campaign
                at = campaign.update_time.ToDatetime(tzinfo=UTC)
                store.retarget(tx, UUID(campaign.organization_id), UUID(campaign.id), campaign.target_url, at)
