"""Consumes CampaignChanged events (topic "campaign") into the live documents."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from adplatform.campaign.v1.campaign_pb2 import Campaign
from adplatform.events.v1.events_pb2 import CampaignChanged, Event

from adlib.documents import Document, Documents

COLLECTION = "realtime_campaigns"
# A deleted campaign's document stays while an earlier event may still arrive.
_DELETED_TTL = timedelta(days=30)


class CampaignProjector:
    """Stores one document a campaign. Late and repeated events change nothing."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Handles a batch of messages."""
        for payload in payloads:
            event = Event.FromString(payload)
            if event.WhichOneof("payload") == "campaign_changed":
                changed = event.campaign_changed
                # A campaign's update time strictly increases from event to event.
                version = changed.campaign.update_time.ToMicroseconds()
                document, expires_at = _document(changed), _expires_at(changed.campaign)
                self._documents.put(COLLECTION, changed.campaign.id, document, version, expires_at=expires_at)


def _expires_at(campaign: Campaign) -> datetime | None:
    return campaign.delete_time.ToDatetime(UTC) + _DELETED_TTL if campaign.HasField("delete_time") else None


def _document(changed: CampaignChanged) -> Document:
    campaign, figures = changed.campaign, changed.figures
    deleted = {"deletedAt": campaign.delete_time.ToJsonString()} if campaign.HasField("delete_time") else {}
    return {
        **deleted,
        "id": campaign.id,
        "organizationId": campaign.organization_id,
        "name": campaign.name,
        "state": Campaign.State.Name(campaign.state),
        "stateReasons": [Campaign.StateReason.Name(reason) for reason in campaign.state_reasons],
        "impressions": figures.impressions,
        "clicks": figures.clicks,
        "conversions": figures.conversions,
        "spentMicros": figures.spent_micros,
        "currencyCode": campaign.currency_code,
        "updatedAt": campaign.update_time.ToJsonString(),
    }
