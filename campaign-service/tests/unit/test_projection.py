"""The live document of a campaign."""

from datetime import UTC, datetime, timedelta

import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.events.v1.events_pb2 import CampaignChanged, Event, SpendPosted
from google.protobuf.message import DecodeError

from adlib.clock import FixedClock, timestamp
from adtesting.documents import MemoryDocuments
from campaign_service.projection.consumer import CampaignProjector

NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)


def event(name: str, at: datetime, **figures: int) -> bytes:
    campaign = pb.Campaign(
        id="one",
        organization_id="acme",
        name=name,
        state=pb.Campaign.PAUSED,
        state_reasons=[pb.Campaign.USER],
        currency_code="USD",
        update_time=timestamp(at),
    )
    changed = CampaignChanged(campaign=campaign, figures=pb.DeliveryFigures(**figures))
    return Event(campaign_changed=changed).SerializeToString()


def test_document_has_the_latest_event_whatever_the_order() -> None:
    documents = MemoryDocuments()
    projector = CampaignProjector(documents)
    late = event("late", NOW + timedelta(microseconds=1), impressions=5, clicks=4, conversions=3, spent_micros=2)
    projector([late, event("early", NOW), Event(spend_posted=SpendPosted()).SerializeToString(), late])
    assert documents.get("realtime_campaigns", "one") == {
        "id": "one",
        "organizationId": "acme",
        "name": "late",
        "state": "PAUSED",
        "stateReasons": ["USER"],
        "impressions": 5,
        "clicks": 4,
        "conversions": 3,
        "spentMicros": 2,
        "currencyCode": "USD",
        "updatedAt": "2030-01-15T12:00:00.000001Z",
    }


def test_document_of_a_deleted_campaign_ignores_late_events_and_expires() -> None:
    documents = MemoryDocuments(FixedClock(NOW + timedelta(days=1)))
    projector = CampaignProjector(documents)
    deleted = Event.FromString(event("deleted", NOW))
    deleted.campaign_changed.campaign.delete_time.CopyFrom(timestamp(NOW))
    projector([deleted.SerializeToString(), event("earlier", NOW - timedelta(seconds=1))])
    assert documents.get("realtime_campaigns", "one")["deletedAt"] == "2030-01-15T12:00:00Z"
    month_later = MemoryDocuments(FixedClock(NOW + timedelta(days=31)))
    CampaignProjector(month_later)([deleted.SerializeToString()])
    assert month_later.get("realtime_campaigns", "one") is None


def test_malformed_event_raises_for_the_dead_letters() -> None:
    with pytest.raises(DecodeError):
        CampaignProjector(MemoryDocuments())([b"\xff"])
